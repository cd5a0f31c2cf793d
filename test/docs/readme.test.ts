import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { renderConfigTable } from '../../src/core/contracts/config-docs.ts'

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

test('the configuration table of the README is what the schema says', () => {
  const shown = readme.split('<!-- config:begin -->\n')[1]?.split('<!-- config:end -->')[0]
  expect(shown?.trim()).toBe(renderConfigTable().trim())
})

test('every room on the map exists, and every folder of the source is on it', async () => {
  const { readdirSync } = await import('node:fs')
  const rooms = readdirSync(new URL('../../src/core', import.meta.url)).map((r) => `src/core/${r}/`)
  for (const room of [...rooms, 'src/commands/', 'src/shell/']) expect(readme).toContain(room)
})
