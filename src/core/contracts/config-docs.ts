import { CONFIG } from './config.ts'
import { type Group, isKey, isTable, type Placed, pathText } from './config-key.ts'
import { PRESETS } from './config-presets.ts'

type Key = Placed['key']

interface Section {
  path: readonly string[]
  group: Group
  keys: [string, Key][]
  /** An entry of a table: its name is the operator's. */
  isEntry: boolean
}

/** The file config.toml.example: every key with its default, its range and its reason. */
export function renderConfigExample(): string {
  const head = [
    '# Configuration of engram-scm. Each line shows the default; a line that is commented out has none.',
    '# Flags go before the environment, the environment before this file, this file before the defaults.',
    '# Secrets belong into the environment or into files of their own. One written here asks for mode 0600.',
  ]
  return `${[head.join('\n'), ...sections().map(exampleSection)].join('\n\n')}\n`
}

function exampleSection({ path, group, keys, isEntry }: Section): string {
  const off = isEntry ? '# ' : ''
  const lines = keys.flatMap(([name, key]) => {
    const meta = [rangeOf(key), ...key.env, ...(key.alias ? [`also ${key.alias}`] : [])].join(' · ')
    const presets = name === 'preset' ? presetLines() : []
    return ['', `# ${key.description}`, ...presets, `# ${meta}`, exampleLine(name, key, off)]
  })
  return [`# ${group.title}`, `${off}[${pathText(path)}]`, ...lines].join('\n')
}

function exampleLine(name: string, key: Key, off: string): string {
  if (key.secret === true) return `# ${name} = "…"`
  if (key.default === null || off) return `# ${name} = ${tomlValue(key.example ?? key.default)}`
  return `${name} = ${tomlValue(key.default)}`
}

/** The reference for README: one table per group. */
export function renderConfigTable(): string {
  return sections()
    .map(({ path, group, keys }) => {
      const rows = keys.map(([name, key]) => `| ${rowOf(name, key).map(cell).join(' | ')} |`)
      return [
        `#### ${group.title}: \`[${pathText(path)}]\``,
        '',
        '| Key | Environment | Default | Range | What and why |',
        '| --- | --- | --- | --- | --- |',
        ...rows,
        ...(keys.some(([name]) => name === 'preset') ? ['', ...presetTable()] : []),
      ].join('\n')
    })
    .join('\n\n')
}

function rowOf(name: string, key: Key): string[] {
  return [
    [name, ...(key.alias ? [key.alias] : [])].map(code).join(', '),
    key.env.map(code).join(', ') || '–',
    key.default === null ? '–' : code(tomlValue(key.default)),
    rangeOf(key),
    key.description,
  ]
}

const SIZES = Object.entries(PRESETS) as [string, Record<string, number | boolean>][]

function presetLines(): string[] {
  return SIZES.flatMap(([name, values]) => [
    `# ${name}:`,
    ...Object.entries(values).map(([key, value]) => `#   ${key} = ${value}`),
  ])
}

function presetTable(): string[] {
  const named = [...new Set(SIZES.flatMap(([, values]) => Object.keys(values)))]
  return [
    `| Default of | ${SIZES.map(([name]) => name).join(' | ')} |`,
    `| --- | ${SIZES.map(() => '---').join(' | ')} |`,
    ...named.map((key) => `| ${[code(key), ...SIZES.map(([, values]) => values[key] ?? '–')].join(' | ')} |`),
  ]
}

function rangeOf(key: Key): string {
  const unit = key.unit ? ` ${key.unit}` : ''
  switch (key.type) {
    case 'boolean':
      return 'true or false'
    case 'integer':
    case 'number':
      return `${key.minimum} to ${key.maximum}${unit}`
    case 'array':
      return key.items?.enum ? `list of ${key.items.enum.join(', ')}` : 'list'
    case 'string':
      return (
        key.enum?.join(', ') ?? (key.secret === true ? `secret: ${key.expected}` : (key.expected ?? 'text'))
      )
  }
}

function sections(group: Group = CONFIG, path: readonly string[] = [], isEntry = false): Section[] {
  const keys: [string, Key][] = []
  const below: Section[] = []
  for (const [name, child] of Object.entries(group.properties)) {
    if (isKey(child)) keys.push([name, child])
    else if (isTable(child)) below.push(...sections(child.entry, [...path, name, child.example], true))
    else below.push(...sections(child, [...path, name], isEntry))
  }
  const own = keys.length > 0 ? [{ path, group, keys, isEntry }] : []
  return [...own, ...below]
}

function tomlValue(value: unknown): string {
  return Array.isArray(value)
    ? `[${value.map((item) => JSON.stringify(item)).join(', ')}]`
    : JSON.stringify(value)
}

function code(text: string): string {
  return `\`${text}\``
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
