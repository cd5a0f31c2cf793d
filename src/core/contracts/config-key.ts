/**
 * How a configuration key is declared. A declaration is one plain object: the TypeScript type, the JSON Schema,
 * the names in the environment and the documents are all read off it.
 * No library is imported, so that the table costs nothing at start-up.
 */

interface Said {
  /** One sentence: what it does, and why the default is what it is. */
  about: string
  /** Names in the environment; the first that is set wins. */
  env?: string | readonly string[]
  /** The command-line flag, where it is not the last part of the path. */
  flag?: string
  /** A second name in TOML for the same key. */
  alias?: string
}

export interface Key<T> {
  readonly type: 'boolean' | 'integer' | 'number' | 'string' | 'array'
  readonly default: T
  readonly description: string
  readonly env: readonly string[]
  readonly flag: string | null
  readonly alias: string | null
  readonly unit: string | null
  /** Shown, commented out, where there is no default. */
  readonly example: string | number | readonly string[] | null
  /** What a right value is, for texts. */
  readonly expected: string | null
  /** true: the value is secret. 'userinfo': the password inside the URL is. */
  readonly secret: boolean | 'userinfo'
  /** A path: relative to the file that names it, or to the working directory. */
  readonly path: boolean
  /** Sibling keys that name an environment variable or a file holding the value. */
  readonly from_env: string | null
  readonly from_file: string | null
  readonly minimum?: number
  readonly maximum?: number
  readonly enum?: readonly string[]
  readonly pattern?: string
  readonly items?: { readonly type: 'string'; readonly enum?: readonly string[]; readonly pattern?: string }
}

type AnyKey = Key<unknown>
type Properties = { readonly [name: string]: AnyKey | Group<Properties> | Table<Properties> }

export interface Group<P = Properties> {
  readonly type: 'group'
  readonly properties: P
  readonly title: string
}

/** Groups under names the operator chooses: `[scm.worker.pools.NAME]`. */
export interface Table<P = Properties> {
  readonly type: 'table'
  readonly entry: Group<P>
  /** A name for an entry, for the documents. */
  readonly example: string
}

export type Infer<S> =
  S extends Key<infer T>
    ? T
    : S extends Group<infer P>
      ? { readonly [K in keyof P]: Infer<P[K]> }
      : S extends Table<infer P>
        ? Readonly<Record<string, { readonly [K in keyof P]: Infer<P[K]> }>>
        : never

const ENTRY_NAME = '^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}$'
const PLAIN_TEXT = '^[^\\u0000-\\u001f\\u007f]+$'

function key<T>(type: Key<T>['type'], said: Said, value: T, more: Partial<Key<T>> = {}): Key<T> {
  return {
    type,
    default: value,
    description: said.about,
    env: said.env === undefined ? [] : typeof said.env === 'string' ? [said.env] : said.env,
    flag: said.flag ?? null,
    alias: said.alias ?? null,
    unit: null,
    example: null,
    expected: null,
    secret: false,
    path: false,
    from_env: null,
    from_file: null,
    ...more,
  }
}

interface Limits<D> {
  default: D
  min: number
  max: number
  unit?: string
  example?: number
}

function limits<D>(said: Limits<D>) {
  return { minimum: said.min, maximum: said.max, unit: said.unit ?? null, example: said.example ?? null }
}

export function bool(said: Said & { default: boolean }): Key<boolean> {
  return key('boolean', said, said.default)
}

export function int<const D extends number | null>(said: Said & Limits<D>) {
  return key('integer', said, said.default as number | Extract<D, null>, limits(said))
}

export function num<const D extends number | null>(said: Said & Limits<D>) {
  return key('number', said, said.default as number | Extract<D, null>, limits(said))
}

interface Worded {
  example?: string
  pattern?: string
  expected?: string
}

function worded(said: Worded) {
  return {
    pattern: said.pattern ?? PLAIN_TEXT,
    expected: said.expected ?? 'a text without control characters',
    example: said.example ?? null,
  }
}

export function text<const D extends string | null>(said: Said & Worded & { default: D }) {
  return key('string', said, said.default as string | Extract<D, null>, worded(said))
}

/** A connection string: shown without its password. */
export function dsn(said: Said & Worded) {
  return key<string | null>('string', said, null, { ...worded(said), secret: 'userinfo' })
}

export function path(said: Said & { example: string }) {
  return key<string | null>('string', said, null, {
    ...worded({ example: said.example, expected: 'a path' }),
    path: true,
  })
}

export function secret(said: Said & Worded & { from_env?: string; from_file?: string }) {
  return key<string | null>('string', said, null, {
    ...worded(said),
    secret: true,
    from_env: said.from_env ?? null,
    from_file: said.from_file ?? null,
  })
}

export function choice<const C extends string>(said: Said & { of: readonly C[]; default: NoInfer<C> }) {
  return key<C>('string', said, said.default, { enum: said.of })
}

export function list<const C extends string = string>(
  said: Said & { of?: readonly C[]; default: readonly NoInfer<C>[]; example?: readonly string[] },
): Key<readonly C[]> {
  const items = said.of
    ? ({ type: 'string', enum: said.of } as const)
    : ({ type: 'string', pattern: PLAIN_TEXT } as const)
  return key<readonly C[]>('array', said, said.default, { items, example: said.example ?? null })
}

export function group<const P extends Properties>(title: string, properties: P): Group<P> {
  return { type: 'group', properties, title }
}

export function table<const P extends Properties>(example: string, entry: Group<P>): Table<P> {
  return { type: 'table', entry, example }
}

export type Node = Properties[string]

const KEYWORDS = ['type', 'minimum', 'maximum', 'enum', 'pattern', 'items'] as const

/** The part of a declaration that JSON Schema knows, for ajv. Nothing is required: defaults fill what is left out. */
export function jsonSchemaOf(node: Node): object {
  if (isKey(node)) {
    return Object.fromEntries(
      KEYWORDS.flatMap((word) => (node[word] === undefined ? [] : [[word, node[word]]])),
    )
  }
  if (isTable(node)) {
    const patternProperties = { [ENTRY_NAME]: jsonSchemaOf(node.entry) }
    return { type: 'object', additionalProperties: false, patternProperties }
  }
  const properties = Object.fromEntries(
    Object.entries(node.properties).map(([name, child]) => [name, jsonSchemaOf(child)]),
  )
  return { type: 'object', additionalProperties: false, properties }
}

export function isKey(node: Node): node is AnyKey {
  return node.type !== 'group' && node.type !== 'table'
}

export function isTable(node: Node): node is Table {
  return node.type === 'table'
}

export function childOf(node: Node, name: string): Node | null {
  if (isKey(node)) return null
  if (isTable(node)) return node.entry
  return Object.hasOwn(node.properties, name) ? (node.properties[name] ?? null) : null
}

/** A path as TOML writes it: scm.gitlab.instances."gitlab.example.com".token */
export function pathText(path: readonly string[]): string {
  return path.map((part) => (/^[A-Za-z0-9_-]+$/.test(part) ? part : quotedText(part))).join('.')
}

/** In quotes, on one line, with nothing in it that a terminal would obey or turn around. */
export function quotedText(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

export interface Placed {
  path: readonly string[]
  key: AnyKey
}

/** Every key with a fixed path, in the order of declaration; entries of tables have none. */
export function keysOf(node: Group, path: readonly string[] = []): Placed[] {
  return Object.entries(node.properties).flatMap(([name, child]) => {
    const here = [...path, name]
    if (isKey(child)) return [{ path: here, key: child }]
    return isTable(child) ? [] : keysOf(child, here)
  })
}
