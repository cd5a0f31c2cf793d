import { createInterface } from 'node:readline/promises'
import { Flags } from '@oclif/core'
import { SyncError } from '../core/domain/errors.ts'
import { visible } from './output.ts'

export const yesFlag = Flags.boolean({ char: 'y', summary: 'Do it without asking' })

/** Of what cannot be taken back. On a terminal the person is asked; a script has to say `--yes`. */
export async function confirm(what: string, flags: { yes?: boolean; 'dry-run'?: boolean }): Promise<void> {
  if (flags.yes || flags['dry-run']) return
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new SyncError('usage', `${what}: that cannot be taken back`, {
      hint: 'say --yes to do it, or --dry-run to see what it would do',
    })
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await terminal.question(`${visible(what)}. Go on? [y/N] `).catch(unanswered)
    if (/^y(es)?$/i.test(answer.trim())) return
  } finally {
    terminal.close()
  }
  throw new SyncError('cancelled', 'nothing was changed')
}

/** Ctrl-C and Ctrl-D mean no. */
function unanswered(): string {
  process.stderr.write('\n')
  return ''
}
