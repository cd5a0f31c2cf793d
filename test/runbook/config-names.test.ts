import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'smol-toml'
import { afterAll, describe, expect, test } from 'vitest'
import { CONFIG } from '../../src/core/contracts/config.ts'
import { keysOf, type Placed, pathText } from '../../src/core/contracts/config-key.ts'
import { PRESETS } from '../../src/core/contracts/config-presets.ts'
import { inspectConfig } from '../../src/core/runtime/config.ts'

/**
 * Every name of the runbooks, held against the configuration. Skipped where the runbooks are not at hand; the names
 * themselves stand in test/core/runtime/config.test.ts, too.
 */
const RUNBOOKS = new URL('../../../shared/runbooks/', import.meta.url)
const here = existsSync(RUNBOOKS)
if (!here) process.stdout.write('no ../shared/runbooks: their names are not checked here\n')
const TEXT = here
  ? readdirSync(RUNBOOKS)
      .map((name) => readFileSync(new URL(name, RUNBOOKS), 'utf8'))
      .join('\n')
  : ''

const folder = mkdtempSync(join(tmpdir(), 'names-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** `export NAME=value`, `# NAME=value`, and rows of tables. */
const SET = [
  ...TEXT.matchAll(/^[ #]*(?:export )?([A-Z][A-Z_]+)=("?)([^"\s#]*)\2/gm),
  ...TEXT.matchAll(/^\| `([A-Z][A-Z_]+)` \| (`)([^`]+)`/gm),
].map(([, name = '', , value = '']) => ({ name, value }))
const VARIABLES = [...new Map(SET.map((one) => [`${one.name}=${one.value}`, one])).values()]

const LINES = [...TEXT.matchAll(/```toml\n([\s\S]*?)```/g)].flatMap(([, block = '']) => leaves(parse(block)))

const KEYS = keysOf(CONFIG)
const keyOf = (path: string) => KEYS.find((placed) => pathText(placed.path) === path) as Placed
const load = (env: Record<string, string>, toml = '') => {
  const file = join(folder, 'config.toml')
  writeFileSync(file, toml, { mode: 0o600 })
  return inspectConfig({ env, file, cwd: folder, configHome: null })
}

const TYPES = { boolean: 'boolean', integer: 'number', number: 'number', string: 'string', array: 'object' }

/** What a text of the environment means. */
function meant({ key }: Placed, text: string): unknown {
  if (key.type === 'boolean') return text === 'true'
  if (key.type === 'integer' || key.type === 'number') return Number(text)
  return key.type === 'array' ? text.split(',').filter(Boolean) : text
}

/** Another right value, and one that is none. */
function another({ key }: Placed, value: unknown): unknown {
  if (key.type === 'boolean') return !value
  if (key.type === 'integer') return value === key.maximum ? key.minimum : Number(value) + 1
  if (key.type === 'number') return Number(value) / 2
  if (key.type === 'array') return key.items?.enum ? ['reviews'] : ['another']
  return key.example === value ? 'https://another.example.com' : (key.example ?? 'another')
}

describe.skipIf(!here)('the variables of the runbooks', () => {
  test('are found', () => {
    expect(new Set(VARIABLES.map((v) => v.name)).size).toBeGreaterThan(45)
    expect(LINES.length).toBeGreaterThan(35)
  })

  test.each(VARIABLES)('$name=$value is accepted, and goes before the file', ({ name, value }) => {
    const placed = KEYS.find(({ key }) => key.env.includes(name)) as Placed
    expect(placed, `${name} is no name of a key`).toBeDefined()
    const path = pathText(placed.path)
    const right = meant(placed, value)
    const other = another(placed, right)
    const { loaded, problems } = load({ [name]: value }, `${path} = ${JSON.stringify(other)}`)
    expect(problems).toEqual([])
    const found = placed.path.reduce<unknown>((at, part) => (at as never)[part], loaded?.config)
    // Several of them are unset by an empty text; a list becomes empty.
    expect(found).toEqual(right === '' ? other : right)
    expect(typeof found).toBe(TYPES[placed.key.type])
    expect(loaded?.origins[path]).toEqual({ source: 'env', where: name })
    expect(loaded?.warnings).toEqual([])
  })

  const judged = VARIABLES.filter(({ name }) => !/TOKEN|PASSWORD|USERNAME|ALLOWLIST/.test(name))
  test.each([...new Set(judged.map((v) => v.name))])('%s with a value that is none is refused', (name) => {
    const { problems } = load({ [name]: 'no\u0001ne' })
    expect(problems).toHaveLength(1)
    expect(problems[0]?.text).toMatch(new RegExp(`^${name}: .* must be .*, not "no\\\\u0001ne"$`))
    expect(problems[0]?.hint).toBeDefined()
  })

  test.each([...new Set(VARIABLES.map((v) => v.name).filter((name) => /^(ENGRAM_)?SCM_/.test(name)))])(
    '%s misspelt is told, with the right name',
    (name) => {
      const slip = `${name.slice(0, -2)}${name.slice(-1)}`
      expect(load({ [slip]: '1' }).loaded?.warnings).toEqual([
        `${slip} is set, but no key has that name; did you mean ${name}?`,
      ])
    },
  )
})

describe.skipIf(!here)('the keys of the runbooks', () => {
  test.each(LINES)('$path = $value is accepted', ({ path, value }) => {
    const { loaded, problems } = load({}, `${path} = ${JSON.stringify(value)}`)
    expect(problems).toEqual([])
    expect(loaded?.origins[path]?.source).toBe('toml')
    expect(keyOf(path).path.reduce<unknown>((at, part) => (at as never)[part], loaded?.config)).toEqual(value)
  })

  test.each(LINES)('$path of a wrong type, or misspelt, is refused', ({ path }) => {
    expect(load({}, `${path} = { a = 1 }`).problems).toMatchObject([
      {
        text: expect.stringMatching(
          new RegExp(`config\\.toml: ${path.replaceAll('.', '\\.')} must be .*, not a table$`),
        ),
      },
    ])
    const last = path.lastIndexOf('.') + 1
    const slip = `${path.slice(0, last)}${path.slice(last, -1)}_`
    expect(load({}, `${slip} = 1`).problems).toMatchObject([
      { text: expect.stringMatching(/ is not a key$/), hint: `did you mean ${path}?` },
    ])
  })
})

describe.skipIf(!here)('the sizes of the runbook', () => {
  const sections = [...TEXT.matchAll(/^### [小中大]型环境[^\n]*\n([\s\S]*?)(?=^##)/gm)].map(
    (m) => m[1] as string,
  )
  test.each([
    ['small', 0],
    ['medium', 1],
    ['large', 2],
  ] as const)('%s has exactly its figures', (name, n) => {
    const recommended = [
      ...(sections[n] as string).matchAll(/^\| `([A-Z_]+)` \| `([^`]+)`/gm),
      ...(sections[n] as string).matchAll(/^([A-Z_]+)=(.*)$/gm),
    ].map(([, variable = '', text = '']) => {
      const placed = KEYS.find(({ key }) => key.env.includes(variable)) as Placed
      return [pathText(placed.path), meant(placed, text)]
    })
    expect(Object.keys(Object.fromEntries(recommended)).length).toBeGreaterThan(5)
    expect(PRESETS[name]).toEqual(Object.fromEntries(recommended))
    const origins = load({ ENGRAM_SCM_PRESET: name }).loaded?.origins ?? {}
    for (const [path] of recommended)
      expect(origins[path as string]).toEqual({ source: 'preset', where: name })
  })
})

function leaves(tree: unknown, path: string[] = []): { path: string; value: unknown }[] {
  if (typeof tree !== 'object' || tree === null || Array.isArray(tree))
    return [{ path: path.join('.'), value: tree }]
  return Object.entries(tree).flatMap(([name, inner]) => leaves(inner, [...path, name]))
}
