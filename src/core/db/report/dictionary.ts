import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Db, rows } from '../connect.ts'
import { migrationsFolder } from '../migrate.ts'

/** Something the migrations make. Names are written as in SQL, with their schema. */
interface Entry {
  kind: 'table' | 'view' | 'function' | 'type' | 'sequence' | 'trigger' | 'index' | 'constraint'
  name: string
  /** Of a trigger, an index, a constraint. */
  of: string
}

/**
 * What the migrations, read from their files, make and the database does not have, or has out of force: an invalid index,
 * a disabled trigger, a constraint that was never checked.
 */
export function missingFromDictionary(db: Db): Promise<{ kind: string; name: string; of: string }[]> {
  const entries = dictionary()
  return rows(
    db,
    'dictionary_missing',
    `select kind, name, of from unnest($1::text[], $2::text[], $3::text[]) as w(kind, name, of)
      where not case kind
        when 'table' then exists (select from pg_class where oid = to_regclass(name) and relkind in ('r', 'p'))
        when 'view' then exists (select from pg_class where oid = to_regclass(name) and relkind = 'v')
        when 'sequence' then exists (select from pg_class where oid = to_regclass(name) and relkind = 'S')
        when 'type' then to_regtype(name) is not null
        when 'function' then exists (select from pg_proc where pronamespace::regnamespace || '.' || proname = name)
        when 'index' then exists (select from pg_index where indexrelid = to_regclass(name) and indrelid = to_regclass(of)
                                     and indisvalid and indisready)
        when 'trigger' then exists (select from pg_trigger where tgrelid = to_regclass(of) and tgname = name
                                       and tgenabled in ('O', 'A'))
        when 'constraint' then exists (select from pg_constraint c where conrelid = to_regclass(of) and conname = name
                                          and convalidated and (conindid = 0 or exists (
                                            select from pg_index where indexrelid = conindid and indisvalid and indisready)))
      end order by 1, 3, 2`,
    [entries.map((e) => e.kind), entries.map((e) => e.name), entries.map((e) => e.of)],
  )
}

/** Tables, for whoever asks what may be done with them. */
export function tablesOfDictionary(): string[] {
  return dictionary().flatMap((e) => (e.kind === 'table' ? e.name : []))
}

const NAME = '(?:"?\\w+"?\\.)?"?\\w+"?'
const MAKES = new RegExp(`^CREATE (?:OR REPLACE )?(?:UNIQUE )?(TABLE|VIEW|FUNCTION|TYPE|SEQUENCE) (${NAME})`)
const MAKES_ON = new RegExp(`^CREATE (?:UNIQUE )?(TRIGGER|INDEX) (${NAME})[\\s\\S]*? ON (${NAME})`)
const ADDS = new RegExp(`^ALTER TABLE (${NAME}) ADD CONSTRAINT "?(\\w+)"?`)
const TAKES_AWAY = new RegExp(
  `^(?:ALTER TABLE (${NAME}) )?DROP (TABLE|VIEW|FUNCTION|TYPE|SEQUENCE|TRIGGER|INDEX|CONSTRAINT) (?:IF EXISTS )?(${NAME})(?: ON (${NAME}))?`,
)

let known: Entry[] | undefined

function dictionary(): Entry[] {
  if (known) return known
  const folder = migrationsFolder()
  const statements = readdirSync(folder)
    .filter((file) => /^\d+_.*\.sql$/.test(file))
    .sort()
    .flatMap((file) => readFileSync(join(folder, file), 'utf8').split('--> statement-breakpoint'))
    .map((statement) => statement.replace(/^(?:\s*(?:--.*)?\n)*/, '').trim())

  const found = new Map<string, Entry>()
  for (const statement of statements) {
    for (const entry of madeBy(statement)) found.set(keyOf(entry), entry)
    const gone = TAKES_AWAY.exec(statement)
    if (gone) forget(found, gone)
  }
  known = [...found.values()]
  return known
}

function madeBy(statement: string): Entry[] {
  const [, kind, name = ''] = MAKES.exec(statement) ?? []
  if (kind !== undefined) {
    const entry = { kind: kind.toLowerCase() as Entry['kind'], name: qualified(name), of: '' }
    if (kind !== 'TABLE') return [entry]
    const constraints = [...statement.matchAll(/^\s*CONSTRAINT "(\w+)"/gm)]
    return [
      entry,
      ...constraints.map(([, own = '']) => ({ kind: 'constraint' as const, name: own, of: entry.name })),
    ]
  }
  const [, on, own = '', table = ''] = MAKES_ON.exec(statement) ?? []
  if (on === 'TRIGGER') return [{ kind: 'trigger', name: bare(own), of: qualified(table) }]
  // An index lies in the schema of its table.
  if (on === 'INDEX')
    return [{ kind: 'index', name: `${schemaOf(qualified(table))}.${bare(own)}`, of: qualified(table) }]
  const [, altered = '', added] = ADDS.exec(statement) ?? []
  return added === undefined ? [] : [{ kind: 'constraint', name: added, of: qualified(altered) }]
}

function forget(found: Map<string, Entry>, [, altered, kind = '', name = '', on]: RegExpExecArray): void {
  const of = altered ?? on
  for (const [key, entry] of found) {
    const isIt = entry.kind === kind.toLowerCase() && bare(entry.name) === bare(name)
    const isOfIt = kind === 'TABLE' && entry.of === qualified(name)
    if ((isIt && (of === undefined || entry.of === qualified(of))) || isOfIt) found.delete(key)
  }
}

const keyOf = ({ kind, name, of }: Entry) => `${kind} ${of} ${name}`
const bare = (name: string) => name.replaceAll('"', '').split('.').at(-1) ?? ''
const schemaOf = (name: string) => name.split('.')[0] ?? ''

function qualified(name: string): string {
  const plain = name.replaceAll('"', '')
  return plain.includes('.') ? plain : `public.${plain}`
}
