import type { DoctorCheck, DoctorReport } from '../../contracts/doctor.ts'
import { registered } from '../../db/report/examine.ts'
import { configuration, lease } from './config.ts'
import {
  collations,
  connections,
  databaseClock,
  dictionary,
  encoding,
  events,
  privileges,
  schema,
  server,
} from './database.ts'
import type { Examined, Registered } from './examined.ts'
import { type Finding, failed, failedWith, worstOf } from './finding.ts'
import { databaseFolder, dataFolder } from './folders.ts'
import { gitlab } from './gitlab.ts'
import { git, svn, svnCredentials } from './programs.ts'
import { breakers, queue, scheduler, workers } from './work.ts'

type Look = (of: Examined) => Promise<Finding | Finding[]>

/** What is looked at, in the order it is shown in. Each stage waits only for the stage it cannot do without. */
const ALWAYS: Record<string, Look> = {
  configuration,
  lease,
  data_folder: dataFolder,
  database_folder: databaseFolder,
  git,
  svn,
  svn_credentials: svnCredentials,
  gitlab,
}
const SERVER: Record<string, Look> = { server }
const ON_A_SERVER: Record<string, Look> = {
  encoding,
  collations,
  database_clock: databaseClock,
  connections,
  schema,
}
const IN_THE_SCHEMA: Record<string, Look> = {
  dictionary,
  privileges,
  events,
  breakers,
  queue,
  scheduler,
  workers,
}

const DEADLINE_MS = 10_000

/** Looks at everything this program needs, side by side; writes nothing and starts nothing. */
export async function examine(of: Omit<Examined, 'registered'>): Promise<DoctorReport> {
  const examined: Examined = { ...of, registered: whatIsRegistered(of.db) }
  const [always, database] = await Promise.all([all(ALWAYS, examined), examineDatabase(examined)])
  const checks = [...always, ...database.checks]

  const worst = worstOf(checks)
  const count = (status: DoctorCheck['status']) => checks.filter((c) => c.status === status).length
  return {
    status: ({ ok: 'success', warning: 'partial', failed: 'failed' } as const)[worst],
    checked_at: of.now().toISOString(),
    checks,
    ok: count('ok'),
    warnings: count('warning'),
    failed: count('failed'),
    not_examined: database.notExamined,
    exit_code: ({ ok: 0, warning: 1, failed: 2 } as const)[worst],
  }
}

/** null where the database cannot say. */
async function whatIsRegistered(db: Examined['db']): Promise<Registered | null> {
  if (db === null) return null
  const answer = await within(registered(db)).catch(() => null)
  return Array.isArray(answer) ? answer : null
}

/** Without a server there is no schema, and without the schema nothing in it. */
async function examineDatabase(of: Examined): Promise<{ checks: DoctorCheck[]; notExamined: string[] }> {
  const beyond = { server: Object.keys(ON_A_SERVER), schema: Object.keys(IN_THE_SCHEMA) }
  const reached = await all(SERVER, of)
  if (of.db === null || worstOf(reached) === 'failed')
    return { checks: reached, notExamined: [...beyond.server, ...beyond.schema] }

  const checks = [...reached, ...(await all(ON_A_SERVER, of))]
  const isThere = checks.some((c) => c.check === 'schema' && c.status === 'ok')
  if (!isThere) return { checks, notExamined: beyond.schema }
  return { checks: [...checks, ...(await all(IN_THE_SCHEMA, of))], notExamined: [] }
}

async function all(looks: Record<string, Look>, of: Examined): Promise<DoctorCheck[]> {
  const found = await Promise.all(
    Object.entries(looks).map(async ([check, look]) => {
      const findings = await within(look(of)).catch((error: unknown) => failedWith(error))
      return [findings].flat().map((finding): DoctorCheck => ({ check, ...finding }))
    }),
  )
  return found.flat()
}

/** The answer, or the failure that there was none in time. */
async function within<T>(work: Promise<T>): Promise<T | Finding> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Finding>((resolve) => {
    const says = `no answer within ${DEADLINE_MS / 1000} s`
    timer = setTimeout(() => resolve(failed(says, 'look at what it is about, then ask again')), DEADLINE_MS)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
