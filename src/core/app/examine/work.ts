import type pg from 'pg'
import type { Config } from '../../contracts/config.ts'
import { type Life, signsOfLife } from '../../db/report/examine.ts'
import { breakerRows } from '../../db/report/status.ts'
import { readBreaker } from '../../domain/breaker-row.ts'
import { readHealth } from '../report/read-health.ts'
import type { Examined } from './examined.ts'
import { type Finding, failed, ok, warning } from './finding.ts'

/** Breakers that hold work back. */
export async function breakers({ db }: Examined): Promise<Finding[]> {
  const found = (await breakerRows(db as pg.Pool)).flatMap(({ key, value }) => {
    const { state, byHand, reason } = readBreaker(value)
    if (state === 'closed') return []
    const says = byHand ? 'open, by hand' : state === 'open' ? 'open' : 'half open, and probes'
    return [
      warning(
        `${key} is ${says}${reason === null ? '' : `: ${reason.slice(0, 200)}`}`,
        byHand
          ? 'it waits for a person: engram-scm-sync admin breakers close, and its name'
          : 'look at the upstream; it closes by itself: docs/operations.md, "Breakers and pauses"',
      ),
    ]
  })
  return found.length > 0 ? found : [ok('all closed')]
}

/** What `status --health` finds. */
export async function queue({ db, config, now }: Examined): Promise<Finding[]> {
  const { violations, total_checks } = await readHealth(
    { db: db as pg.Pool, config: config as Config, now },
    { includeDetails: false },
  )
  const found = violations.map((v) => {
    const says = `${v.check_id}: ${v.description}`
    if (v.severity === 'info') return ok(says)
    return v.severity === 'critical' ? failed(says, v.remediation_hint) : warning(says, v.remediation_hint)
  })
  return found.length > 0 ? found : [ok(`${total_checks} checks of status --health, nothing found`)]
}

export async function scheduler({ db, config, registered }: Examined): Promise<Finding> {
  const { schedulerGoneFor: gone } = await signsOfLife(db as pg.Pool)
  if (gone !== null && gone < 0) return ok('one leads')
  const found = gone === null ? 'none has ever run' : `none leads, since ${duration(gone)}`
  if (config?.scm.sync.enabled === false) return ok(`${found}; scm.sync.enabled is false`)
  if ((await registered)?.length === 0) return ok(`${found}; nothing is registered to sync`)
  return warning(found, 'start engram-scm-scheduler --loop, unless your own scheduler calls the runner')
}

/** One that waits listens for jobs, and one that works renews its runs; through a pooler nobody can be seen to listen. */
export async function workers({ db, config }: Examined): Promise<Finding> {
  const life = await signsOfLife(db as pg.Pool)
  const lease = config?.scm.worker.lease_seconds ?? 300
  if (life.running > 0 && (life.heartbeatAge ?? Number.POSITIVE_INFINITY) > lease)
    return warning(
      `${running(life)}, and none has given a sign of life for ${duration(life.heartbeatAge ?? 0)}`,
      'restart the workers; engram-scm-reaper --once takes their jobs back',
    )
  if (life.listening > 0 || life.running > 0) return ok(`${life.listening} wait for jobs, ${running(life)}`)
  if (life.due === 0) return ok('none is seen, and no job is due')
  return warning(
    `none is seen, and ${life.due} ${life.due === 1 ? 'job is' : 'jobs are'} due`,
    'start engram-scm-worker',
  )
}

function running({ running: n }: Life): string {
  return n === 1 ? '1 job runs' : `${n} jobs run`
}

function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`
}
