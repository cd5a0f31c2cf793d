import { parse } from 'smol-toml'
import { describe, expect, test } from 'vitest'
import { CONFIG } from '../../../src/core/contracts/config.ts'
import { renderConfigExample, renderConfigTable } from '../../../src/core/contracts/config-docs.ts'
import {
  type Group,
  isKey,
  isTable,
  keysOf,
  type Placed,
  pathText,
} from '../../../src/core/contracts/config-key.ts'
import { checkConfig } from '../../../src/core/runtime/config-check.ts'

/** Every key, those of table entries too. */
function everyKey(group: Group, path: string[] = []): Placed[] {
  return Object.entries(group.properties).flatMap(([name, child]) => {
    const here = [...path, name]
    if (isKey(child)) return [{ path: here, key: child }]
    return everyKey(isTable(child) ? child.entry : child, isTable(child) ? [...here, child.example] : here)
  })
}

const KEYS = everyKey(CONFIG)

/** The smallest configuration that says only this. */
function only(path: readonly string[], value: unknown): unknown {
  return path.reduceRight((inner, name) => ({ [name]: inner }), value)
}

describe('declarations', () => {
  test.each(KEYS.map((placed) => [pathText(placed.path), placed] as const))(
    '%s is whole',
    (_, { path, key }) => {
      expect(key.description).toMatch(/^[A-Z1-9].{10,140}\.$/)
      if (key.default !== null) expect(checkConfig(only(path, key.default))).toEqual([])
      if (key.example !== null) expect(checkConfig(only(path, key.example))).toEqual([])
      if (key.default === null && key.secret !== true) expect(key.example).not.toBeNull()
      if (key.type === 'integer' || key.type === 'number') {
        expect(key.minimum).toBeGreaterThanOrEqual(0)
        expect(checkConfig(only(path, key.minimum))).toEqual([])
        expect(checkConfig(only(path, key.maximum))).toEqual([])
        expect(checkConfig(only(path, (key.minimum ?? 0) - 1))).toHaveLength(1)
        expect(checkConfig(only(path, (key.maximum ?? 0) + 1))).toHaveLength(1)
        expect(checkConfig(only(path, Number.NaN))).not.toEqual([])
      }
      if (/threshold|rate$|ratio/.test(path.at(-1) ?? '') && key.type === 'number' && !key.unit) {
        expect([key.minimum, key.maximum]).toEqual([0, 1])
      }
      for (const sibling of [key.from_env, key.from_file]) {
        if (sibling !== null)
          expect(KEYS.map((k) => pathText(k.path))).toContain(pathText([...path.slice(0, -1), sibling]))
      }
    },
  )

  test('no name in the environment belongs to two keys', () => {
    const names = KEYS.flatMap(({ key }) => key.env)
    expect(names).toEqual([...new Set(names)])
  })

  test('keys of a group that follows SCM_<GROUP>_<KEY> are named so', () => {
    for (const { path, key } of keysOf(CONFIG)) {
      const prefix = {
        scheduler: 'SCM_SCHEDULER_',
        worker: 'SCM_WORKER_',
        reaper: 'SCM_REAPER_',
        circuit_breaker: 'SCM_CB_',
      }[path[1] ?? '']
      if (prefix) expect(key.env, pathText(path)).toEqual([prefix + path.at(-1)?.toUpperCase()])
    }
  })
})

describe('documents', () => {
  test('config.toml.example is what the declarations say (renew it with vitest --update)', async () => {
    await expect(renderConfigExample()).toMatchFileSnapshot('../../../config.toml.example')
  })

  test('every line of config.toml.example that is commented out may be turned on', () => {
    const turnedOn = renderConfigExample()
      .replaceAll('"…"', '"secret"')
      .replaceAll(/^# (\[scm|[a-z_]+ = )/gm, '$1')
    const tree = parse(turnedOn)

    expect(checkConfig(tree)).toEqual([])
    for (const { path } of KEYS)
      expect(path.reduce<unknown>((at, name) => (at as never)?.[name], tree)).toBeDefined()
  })

  test('the table has a row for every key', () => {
    const table = renderConfigTable()
    const ofPresets = /^\| `scm\./
    const rows = table.split('\n').filter((line) => line.startsWith('| `') && !ofPresets.test(line))
    expect(rows).toHaveLength(KEYS.length)
    for (const row of rows) expect(row.match(/(?<!\\)\|/g)).toHaveLength(6)
    for (const { key } of KEYS) for (const name of key.env) expect(table).toContain(`\`${name}\``)
  })
})
