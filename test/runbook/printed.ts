import { existsSync, readFileSync } from 'node:fs'

/** The runbooks themselves, where they lie beside the checkout. Elsewhere the other files of this folder stand for them. */
const FOLDER = new URL('../../../shared/runbooks/', import.meta.url)
export const here = existsSync(FOLDER)

export function sayIfAbsent(): void {
  if (!here)
    process.stdout.write('no ../shared/runbooks beside this checkout: its own text is not compared\n')
}

const text = (name: string) => (here ? readFileSync(new URL(name, FOLDER), 'utf8') : '')
/** Of the sync. */
export const B = text('scm-sync-ops.md')
/** Of the ledger. */
export const A = text('ingest-ops.md')

export interface Block {
  language: string
  body: string
}

export function blocksOf(markdown: string): Block[] {
  return [...markdown.matchAll(/^[ ]*```(\w+)\n([\s\S]*?)^[ ]*```$/gm)].map((m) => ({
    language: m[1] as string,
    body: m[2] as string,
  }))
}

/** Statements as printed: of the sql blocks, and inside the python one-liners of the bash blocks. */
export function statementsIn(markdown: string): string[] {
  return blocksOf(markdown).flatMap(({ language, body }) => {
    if (language === 'sql')
      return body
        .replace(/^\s*--.*$/gm, '')
        .split(';')
        .map((s) => s.trim())
        .filter(Boolean)
    return [...body.matchAll(/cur\.execute\((?:\\"|''')([\s\S]*?)(?:\\"|''')\)/g)].map((m) =>
      (m[1] as string).trim(),
    )
  })
}

/** One command a line: comments gone, continued lines joined. */
export function linesOf(markdown: string): string[] {
  return blocksOf(markdown)
    .filter((b) => b.language === 'bash')
    .flatMap((b) => b.body.replace(/\\\n\s*/g, ' ').split('\n'))
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}
