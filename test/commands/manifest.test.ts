import { describe, expect, test } from 'vitest'
import { BINARIES, COMMANDS, HARMFUL, linesOf, run, wordsOf } from '../helpers/cli.ts'
import { runHere } from '../helpers/one-process.ts'

const VERSION = /^engram-scm\/\d+\.\d+\.\d+ \S+ node-v\d+\.\d+\.\d+\n$/

test('commands, flags and summaries are what people were told', async () => {
  const text = COMMANDS.map((command) => {
    const args = Object.values(command.args).map((a) => (a.required ? ` <${a.name}>` : ` [${a.name}]`))
    const flags = Object.values(command.flags).map((f) => {
      const value = f.type === 'boolean' ? '' : ` ${f.options ? f.options.join('|') : '…'}`
      return `  --${f.name}${f.char ? ` -${f.char}` : ''}${value}${f.required ? ' (required)' : ''}: ${f.summary ?? ''}`
    })
    return [`${wordsOf(command).join(' ')}${args.join('')}: ${command.summary}`, ...flags.sort()].join('\n')
  })
  await expect(`${text.join('\n\n')}\n`).toMatchFileSnapshot('manifest.txt')
})

describe.each(COMMANDS)('$id', (command) => {
  test('says what it is for, with examples of itself', async () => {
    const help = await runHere([...wordsOf(command), '--help'])
    expect(help).toMatchObject({ code: 0, err: '' })
    expect(linesOf(help.out)[0]).toBe(command.summary)
    expect(help.out).toContain(`$ engram-scm-sync ${wordsOf(command).join(' ')}`)
    expect(help.out).not.toMatch(HARMFUL)
    expect(help.out).not.toMatch(/[ |][\])]/) // an alternative to nothing
    expect(command.examples?.length).toBeGreaterThan(0)
  })

  test('every flag says what it does', () => {
    for (const flag of Object.values(command.flags)) expect(flag.summary, flag.name).toMatch(/^[A-Z].*[^.]$/)
  })

  test.each(command.examples ?? [])('example: %s', async (example) => {
    const line = ownWords(example, command)
    expect(line.slice(0, wordsOf(command).length), example).toEqual(wordsOf(command))
    // Without a database an example gets as far as looking for one: it was understood.
    const ran = await runHere([...line, '--json'], {
      env: { POSTGRES_DSN: 'postgresql:///x?host=/no/such/folder' },
    })
    const [said] = ran.json()
    if (/an external database is configured/.test(String(said?.error))) return // db up, db down
    expect(said?.kind ?? 'none', JSON.stringify(said)).toMatch(/^(none|database|config)$/)
    if (said?.kind === 'config') expect(said.error).toMatch(/no such file/)
  })
})

/** The words after the program's name, without what a shell would do before, around or after it. */
function ownWords(example: string, command: { id: string }): string[] {
  const shown = example
    .replaceAll('<%= config.bin %>', 'engram-scm-sync')
    .replaceAll('<%= command.id %>', command.id.replaceAll(':', ' '))
  const own = /engram-scm-sync(.*?)(?:\)"|\||>|$)/.exec(shown)?.[1]
  if (own === undefined) throw new Error(`the example does not name the program: ${example}`)
  return own.trim().split(/\s+/).filter(Boolean)
}

describe.each(BINARIES)('engram-scm-%s', (bin) => {
  const said = { code: 0, err: '', out: expect.stringMatching(VERSION) }
  test('--version', async () => expect(await run(['--version'], { bin })).toMatchObject(said))
  test('-V', async () => expect(await runHere(['-V'], { bin })).toMatchObject(said))

  test.each(['--help', '-h'])('%s shows its own name and no other', async (flag) => {
    const help = await runHere([flag], { bin })
    expect(help).toMatchObject({ code: 0, err: '' })
    expect(help.out).toMatch(new RegExp(`USAGE\\n  \\$ engram-scm-${bin}`))
    if (bin !== 'sync') expect(help.out).not.toContain('engram-scm-sync')
    expect(help.out).not.toMatch(/\$ \S+ {2}| $|[ |][\])]/m)
    expect(help.out).not.toMatch(HARMFUL)
  })

  test('a slip is refused', async () => {
    const ran = await run(['--bogus', '--json'], { bin })
    expect(ran.json()).toMatchObject([{ status: 'failed', kind: 'usage', exit_code: 2 }])
    expect(ran.code).toBe(2)
  })
})

test('help as a word', async () => {
  const [word, flag] = await Promise.all([
    runHere(['help', 'runner', 'incremental']),
    runHere(['runner', 'incremental', '-h']),
  ])
  expect(word).toMatchObject({ code: 0, err: '', out: flag.out })
  expect((await runHere(['help'])).out).toContain('TOPICS')
})
