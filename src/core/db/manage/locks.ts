/** Locks as operators list and release them. Deleting one is enough: without it a holder neither renews nor stores. */
import { type Db, rows } from '../connect.ts'
import { LAPSED_LOCK } from '../queue/reap.ts'

export interface LockRow {
  lock_id: number
  repo_id: number
  repo: string | null
  job_type: string
  locked_by: string
  locked_at: Date
  lease_seconds: number
  is_expired: boolean
  job_id: number
  run_id: number | null
  job_is_running: boolean
}

const SHOWN = `l.lock_id, l.repo_id, (select r.repo_type || ':' || r.url from scm.repos r where r.repo_id = l.repo_id) as repo,
  l.job_type, l.locked_by, l.locked_at, l.lease_seconds, l.locked_at + make_interval(secs => l.lease_seconds) < now() as is_expired,
  l.job_id, (select r.id from ing_task_run r where r.fence = l.fence) as run_id,
  exists (select from ing_task t where t.id = l.job_id and t.fence = l.fence and t.status = 'running') as job_is_running`

/** The oldest first; of one repository, or of all. */
export async function locksHeld(db: Db, repoId: number | null, limit: number): Promise<LockRow[]> {
  return rows(
    db,
    'by_hand_locks',
    `select ${SHOWN} from scm.sync_locks l where $1::bigint is null or l.repo_id = $1 order by l.locked_at, l.lock_id limit $2`,
    [repoId, limit],
  )
}

/** Their lease over for `graceSeconds`, and no job renewed under them. */
export async function locksLapsed(db: Db, graceSeconds: number, limit: number): Promise<LockRow[]> {
  return rows(
    db,
    'by_hand_lapsed',
    `select ${SHOWN} from scm.sync_locks l where ${LAPSED_LOCK} order by l.locked_at, l.lock_id limit $2`,
    [graceSeconds, limit],
  )
}

/** Whoever holds it. */
export async function releaseLock(tx: Db, repoId: number, jobType: string): Promise<LockRow[]> {
  return rows(
    tx,
    'by_hand_release',
    `delete from scm.sync_locks l where l.repo_id = $1 and l.job_type = $2 returning ${SHOWN}`,
    [repoId, jobType],
  )
}

/** Said again by the row in hand: one that was renewed meanwhile stays. */
export async function releaseLapsed(tx: Db, graceSeconds: number): Promise<LockRow[]> {
  return rows(
    tx,
    'by_hand_release_lapsed',
    `with due as materialized (select lock_id from scm.sync_locks l where ${LAPSED_LOCK} order by lock_id for update)
     delete from scm.sync_locks l using due where l.lock_id = due.lock_id and ${LAPSED_LOCK} returning ${SHOWN}`,
    [graceSeconds],
  )
}
