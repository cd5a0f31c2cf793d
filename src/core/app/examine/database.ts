import type pg from 'pg'
import { databaseNow, type Limits } from '../../db/connect.ts'
import { schemaState, tooNew } from '../../db/migrate.ts'
import { missingFromDictionary } from '../../db/report/dictionary.ts'
import {
  collationFacts,
  connectionFacts,
  eventsCanBeChanged,
  missingPrivileges,
  rehearseWriting,
  serverFacts,
} from '../../db/report/examine.ts'
import type { Examined } from './examined.ts'
import { type Finding, failed, failedWith, ok, warning } from './finding.ts'

const OLDEST_SERVER = 150_000
const GRANTS = 'grant it: docs/operations.md, "Your own", has the statements'

export async function server({ db, noDatabase }: Examined): Promise<Finding> {
  if (noDatabase)
    return noDatabase.isFailure
      ? failed(noDatabase.found, noDatabase.remedy)
      : warning(noDatabase.found, noDatabase.remedy)
  try {
    const { version, number, user, database, readOnly, timeZone } = await serverFacts(db as pg.Pool)
    const found = `PostgreSQL ${version}, database ${database} as ${user}, time zone ${timeZone}`
    if (number < OLDEST_SERVER) return failed(found, 'PostgreSQL 15 or later is needed')
    if (readOnly) return failed(`${found}: it can only be read`, 'name the primary in the DSN')
    return ok(found)
  } catch (error) {
    return failedWith(error, 'check the DSN (engram-scm-sync config show --origin), and that the server runs')
  }
}

export async function encoding({ db }: Examined): Promise<Finding> {
  const { encoding } = await serverFacts(db as pg.Pool)
  if (encoding === 'UTF8') return ok('UTF8')
  return failed(
    `the encoding is ${encoding}`,
    'make the database anew: createdb --encoding=UTF8 --template=template0',
  )
}

export async function collations({ db }: Examined): Promise<Finding[]> {
  const { loose, changed, name } = await collationFacts(db as pg.Pool)
  if (loose.length > 0)
    return [
      failed(
        `unique keys take different texts for equal: ${some(loose)}`,
        'give these columns a deterministic collation: alter table … alter column … type text collate "C"',
      ),
    ]
  if (changed)
    return [
      warning(
        `the library that sorts ${name} has changed since the database was made`,
        'reindex database, then alter database … refresh collation version',
      ),
    ]
  return [ok(name)]
}

/** Ours decides what is asked for and how a window ends; the database's, who holds what. */
export async function databaseClock({ db, now }: Examined): Promise<Finding> {
  const from = now().getTime()
  const theirs = (await databaseNow(db as pg.Pool)).getTime()
  const until = now().getTime()
  const aheadMs = theirs - until
  const behindMs = from - theirs
  const seconds = Math.max(0, aheadMs, behindMs) / 1000
  const found =
    seconds < 1 ? 'as ours' : `${Math.round(seconds)} s ${aheadMs > 0 ? 'ahead of' : 'behind'} ours`
  const remedy = 'set both machines by NTP'
  if (seconds >= 300) return failed(found, remedy)
  return seconds >= 5 ? warning(found, remedy) : ok(found)
}

/** A worker takes two for each job, and three for itself. */
export async function connections({ db, config }: Examined): Promise<Finding> {
  const { most, used } = await connectionFacts(db as pg.Pool)
  const wanted = (config?.scm.worker.parallelism ?? 1) * 2 + 3
  const found = `${used} of ${most} connections are used, a worker takes up to ${wanted}`
  if (most < wanted) return failed(found, 'raise max_connections, or lower scm.worker.parallelism')
  if (most - used < wanted) return warning(found, 'raise max_connections, or close what is not needed')
  return ok(found)
}

export async function schema({ db, embeddedDir }: Examined): Promise<Finding> {
  const state = await schemaState(db as pg.Pool)
  const migrate = 'engram-scm-sync db migrate'
  switch (state) {
    case 'current':
      return ok('as this program makes it')
    case 'newer':
      return failedWith(tooNew())
    case 'missing':
    case 'older': {
      const found =
        state === 'missing' ? 'there is no schema of engram-scm' : 'the schema is of an older engram-scm'
      return embeddedDir === null
        ? failed(found, `run: ${migrate}`)
        : warning(found, `any command makes it; or run: ${migrate}`)
    }
  }
}

export async function dictionary({ db }: Examined): Promise<Finding> {
  const missing = await missingFromDictionary(db as pg.Pool)
  if (missing.length === 0)
    return ok('every table, view, function, trigger, key and index is there and in force')
  const named = missing.map(({ kind, name, of }) => `${kind} ${name}${of === '' ? '' : ` of ${of}`}`)
  return failed(
    `missing or not in force: ${some(named)}`,
    'create them again as the files in drizzle/ do, or restore the schema from a backup',
  )
}

export async function privileges({ db, signal }: Examined): Promise<Finding> {
  const missing = await missingPrivileges(db as pg.Pool)
  if (missing.length > 0) return failed(`this user may not ${some(missing)}`, GRANTS)
  await rehearseWriting(db as pg.Pool, rehearsal(signal))
  return ok('this user may read and write; a rehearsal was rolled back')
}

export async function events({ db, signal }: Examined): Promise<Finding> {
  const possible = await eventsCanBeChanged(db as pg.Pool, rehearsal(signal))
  if (possible.length === 0) return ok('the record of the cursors can only be added to')
  return failed(
    `the record of the cursors can be changed (${possible.join(', ')})`,
    'alter table ing_cursor_event enable trigger cursor_events_are_append_only',
  )
}

function rehearsal(signal: AbortSignal): Limits {
  return { transactionMs: 4000, statementMs: 4000, signal }
}

function some(names: readonly string[]): string {
  const shown = names.slice(0, 10).join(', ')
  return names.length > 10 ? `${shown} and ${names.length - 10} more` : shown
}
