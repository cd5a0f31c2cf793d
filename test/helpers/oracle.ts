import type pg from 'pg'
import { cursorKvKey } from '../../src/core/domain/cursor.ts'
import type { JobType, SourceKind } from '../../src/core/domain/repo.ts'
import type { TestRepo } from './git-repo.ts'

export interface LedgerQuestion {
  db: pg.Pool
  repoId: number
  /** Default git. */
  kind?: SourceKind
  /** An operator edited the kv cursor, and no run has gone over it since. */
  edited?: boolean
  /** A job may be under way or wait to be taken up: only what must hold at every moment is asked. */
  unsettled?: boolean
}

export interface Question extends LedgerQuestion {
  repo: TestRepo
  /** Every commit the repository ever had, where commits may be gone from it. */
  ever?: ReadonlySet<string>
}

/**
 * Holds a database against its repository and against itself; answers every rule that is broken, in words.
 * Nothing lost, nothing invented, heads and cursor where they belong, the ledger closed and without gaps.
 */
export async function violations(q: Question): Promise<string[]> {
  const broken: string[] = []
  const say: Say = (wrong, rule, what = '') => {
    if (wrong) broken.push(`${rule}${what === '' ? '' : `: ${JSON.stringify(what)}`}`)
  }
  await facts(q, say)
  return [...broken, ...(await ledgerViolations(q))]
}

/** The same of the database against itself alone, whatever kind its repository is of. */
export async function ledgerViolations(q: LedgerQuestion): Promise<string[]> {
  const broken: string[] = []
  const say: Say = (wrong, rule, what = '') => {
    if (wrong) broken.push(`${rule}${what === '' ? '' : `: ${JSON.stringify(what)}`}`)
  }
  await lineage(q, say)
  await cursors(q, say)
  await runs(q, say)
  if (!q.unsettled) await settled(q, say)
  return broken
}

type Say = (wrong: boolean, rule: string, what?: unknown) => void

async function facts({ db, repo, repoId, ever, unsettled }: Question, say: Say) {
  const messages = messagesOf(repo)
  const { rows } = await db.query(
    `select commit_sha as sha, message, unreachable_since is not null as left_behind from scm.git_commits where repo_id = $1`,
    [repoId],
  )
  const stored = new Set(rows.map((r) => r.sha))
  const invented = rows.filter((r) => !messages.has(r.sha) && !(ever?.has(r.sha) ?? false))
  const wrong = rows.filter((r) => messages.has(r.sha) && messages.get(r.sha) !== r.message.trimEnd())
  say(invented.length > 0, 'a stored commit was never in the repository', invented.length)
  say(wrong.length > 0, 'a stored message is not the commit’s', wrong[0])
  if (unsettled) return

  const missing = [...messages.keys()].filter((sha) => !stored.has(sha))
  const marked = rows.filter((r) => messages.has(r.sha) && r.left_behind)
  const unmarked = rows.filter((r) => !messages.has(r.sha) && !r.left_behind)
  say(missing.length > 0, 'a commit is missing', missing.length)
  say(marked.length > 0, 'a commit that a ref reaches is marked unreachable', marked.length)
  say(unmarked.length > 0, 'a commit that no ref reaches is not marked', unmarked.length)

  const refs = await db.query('select ref_name as name, sha from scm.git_refs where repo_id = $1', [repoId])
  const kept = Object.fromEntries(refs.rows.map((r) => [r.name, r.sha]))
  const real = refsOf(repo)
  const differs = [...new Set([...Object.keys(kept), ...Object.keys(real)])].filter(
    (n) => kept[n] !== real[n],
  )
  say(differs.length > 0, 'scm.git_refs is not what the repository has', differs)
}

/** Rows and the ledger's account of them are written together: what a row names must have succeeded. */
async function lineage({ db, repoId }: LedgerQuestion, say: Say) {
  const orphans = await db.query(
    `select c.commit_sha, b.status_code, b.run_id is distinct from c.run_id as foreign_run
       from (select commit_sha, run_id, batch_id from scm.git_commits where repo_id = $1
             union all select 'revision ' || rev_num, run_id, batch_id from scm.svn_revisions where repo_id = $1
             union all select 'mr ' || iid, run_id, batch_id from scm.mrs where repo_id = $1
             union all select 'review event ' || source_event_id, run_id, batch_id from scm.review_events
                        where repo_id = $1 and deleted_at is null) c
       left join ing_task_run_batch b on b.id = c.batch_id
      where b.status_code is distinct from 'SUCCEEDED' or b.run_id <> c.run_id`,
    [repoId],
  )
  say(orphans.rows.length > 0, 'a row names a batch that did not succeed', orphans.rows[0])

  const heads = await db.query(
    `select distinct r.run_id, u.status_code from (select run_id from scm.git_refs where repo_id = $1
        union select run_id from scm.git_ref_events where repo_id = $1) r left join ing_task_run u on u.id = r.run_id
      where u.status_code is distinct from 'SUCCEEDED'`,
    [repoId],
  )
  say(heads.rows.length > 0, 'a head was moved by a run that did not succeed', heads.rows[0])

  const events = await db.query(
    'select ref_name as name, old_sha as old, new_sha as new from scm.git_ref_events where repo_id = $1 order by ref_event_id',
    [repoId],
  )
  const at = new Map<string, string | null>()
  for (const e of events.rows) {
    say((at.get(e.name) ?? null) !== e.old, 'the events of a ref are no chain', e)
    at.set(e.name, e.new)
  }
  const refs = await db.query('select ref_name as name, sha from scm.git_refs where repo_id = $1', [repoId])
  const folded = [...at].filter(([, sha]) => sha !== null)
  const same = folded.length === refs.rows.length && refs.rows.every((r) => at.get(r.name) === r.sha)
  say(!same, 'the events of the refs do not fold to scm.git_refs')
}

/** Of a revision its number, of a time its milliseconds. */
const placeOf = (value: string) => (/^\d+$/.test(value) ? Number(value) : Date.parse(value))

async function cursors({ db, repoId, kind = 'git', edited, unsettled }: LedgerQuestion, say: Say) {
  const provenance = `${kind}:${repoId}`
  const events = await db.query(
    `select e.id, e.operation_code || ' ' || cursor_key || ' ' || namespace_key as ns, direction_code as direction, prev_value as prev,
            new_value as next, cursor_version as version, e.run_id, r.status_code as run, reason
       from ing_cursor_event e left join ing_task_run r on r.id = e.run_id where e.provenance_code = $1 order by e.id`,
    [provenance],
  )
  const cursors = await db.query(
    `select operation_code || ' ' || cursor_key || ' ' || namespace_key as ns, cursor_value as value, version from ing_cursor where provenance_code = $1`,
    [provenance],
  )
  const folded = new Map<string, { value: string; version: number }>()
  for (const e of events.rows) {
    say(e.run_id !== null && e.run !== 'SUCCEEDED', 'a cursor event names a run that did not succeed', e)
    if (e.direction !== 'FORWARD') continue
    const at = folded.get(e.ns)
    say((at?.value ?? null) !== e.prev, 'forward events are no chain', e)
    say((at?.version ?? 0) + 1 !== e.version, 'cursor versions have a gap', e)
    say(at !== undefined && placeOf(e.next) <= placeOf(at.value), 'a forward event goes back', e)
    folded.set(e.ns, { value: e.next, version: e.version })
  }
  const agree =
    folded.size === cursors.rows.length &&
    cursors.rows.every((c) => folded.get(c.ns)?.value === c.value && folded.get(c.ns)?.version === c.version)
  say(!agree, 'the events do not fold to ing_cursor', { folded: [...folded], cursors: cursors.rows })

  const backfills = await db.query(
    `select r.id, count(e.id)::int as events from ing_task_run r left join ing_cursor_event e on e.run_id = r.id and e.direction_code = 'BACKFILL'
      where r.repo_id = $1 and r.mode = 'backfill' and r.status_code = 'SUCCEEDED' group by r.id having count(e.id) <> 1`,
    [repoId],
  )
  say(backfills.rows.length > 0, 'a chunk that succeeded has not exactly one event', backfills.rows)

  if (edited || unsettled) return
  for (const job of ['commits', 'mrs', 'reviews'] satisfies JobType[]) {
    const kv = await db.query(
      `select value_json->>'watermark' as watermark from logbook.kv where namespace = 'scm.sync' and key = $1`,
      [cursorKvKey(kind, job, repoId)],
    )
    const main = cursors.rows.find((c) => c.ns.startsWith(`HARVEST ${job} `))
    say(kv.rows[0]?.watermark !== main?.value, 'the kv watermark is not the cursor', {
      kv: kv.rows[0],
      main,
    })
  }
}

async function runs({ db, repoId }: LedgerQuestion, say: Say) {
  const { rows } = await db.query(
    `select r.id, r.task_id as job, r.attempt_no as attempt, r.status_code as status, r.stats, coalesce(b.list, '[]') as batches
       from ing_task_run r
       left join lateral (select jsonb_agg(jsonb_build_object('no', batch_no, 'status', status_code, 'before', before_token,
              'after', after_token, 'records', record_count, 'synced', stats->'synced') order by batch_no) as list
              from ing_task_run_batch where run_id = r.id) b on true
      where r.repo_id = $1 order by r.task_id, r.attempt_no`,
    [repoId],
  )
  const reached = new Map<number, string>()
  const attempts = new Map<number, number>()
  for (const run of rows) {
    const id = { run: run.id, job: run.job, attempt: run.attempt }
    say((attempts.get(run.job) ?? 0) + 1 !== run.attempt, 'attempts of a job have a gap', id)
    attempts.set(run.job, run.attempt)

    const { batches } = run
    let at = batches[0]?.before ?? ''
    say(at !== '' && at !== reached.get(run.job), 'a run starts at a place no run has reached', { ...id, at })
    for (const [i, b] of batches.entries()) {
      const last = i === batches.length - 1
      say(b.no !== i + 1, 'batch numbers have a gap', { ...id, batch: b.no })
      say(b.before !== at && !(i === 0 && b.before === ''), 'the tokens of a run are no chain', { ...id, b })
      const wanted = run.status === 'SUCCEEDED' || !last ? ['SUCCEEDED'] : ['RUNNING', 'FAILED']
      say(!wanted.includes(b.status), 'a batch does not stand where its run does', {
        ...id,
        status: run.status,
        b,
      })
      at = b.after
      if (b.status === 'SUCCEEDED') reached.set(run.job, b.after)
    }
    if (run.status !== 'SUCCEEDED') continue
    const sum = (of: 'records' | 'synced') =>
      batches.reduce((n: number, b: Record<string, number>) => n + (b[of] ?? 0), 0)
    say(batches.length !== run.stats.pages, 'the pages of a run do not add up', { ...id, stats: run.stats })
    say(sum('records') !== run.stats.scanned_count, 'the records of a run do not add up', {
      ...id,
      stats: run.stats,
    })
    say(sum('synced') !== run.stats.synced_count, 'what a run wrote does not add up', {
      ...id,
      stats: run.stats,
      synced: sum('synced'),
    })
    reached.delete(run.job) // whoever asks again starts again
  }
}

async function settled({ db, repoId, kind = 'git' }: LedgerQuestion, say: Say) {
  const open = await db.query(
    `select 'run ' || id || ' ' || status_code as what from ing_task_run where repo_id = $1 and status_code not in ('SUCCEEDED', 'FAILED', 'CANCELLED')
     union all select 'job ' || id || ' ' || status from ing_task where repo_id = $1
        and (status not in ('completed', 'cancelled') or finished_at is null or lease_owner is not null or active_key is not null)
     union all select 'lock of ' || locked_by from scm.sync_locks where repo_id = $1
     union all select 'batch ' || b.id from ing_task_run_batch b join ing_task t on t.id = b.task_id where t.repo_id = $1 and b.status_code = 'RUNNING'
     union all select 'plan ' || p.id || ' ' || p.status_code from ing_plan p where p.provenance_code = $2 and p.status_code <> 'COMPLETED'
        and not exists (select from ing_task t where t.plan_id = p.id and t.status = 'cancelled')
     union all select 'slice ' || s.id || ' ' || s.status_code from ing_plan_slice s join ing_task t on t.slice_id = s.id
        where t.repo_id = $1 and s.status_code <> case t.status when 'completed' then 'SUCCEEDED' else 'CANCELLED' end`,
    [repoId, `${kind}:${repoId}`],
  )
  say(
    open.rows.length > 0,
    'something is left open',
    open.rows.map((r) => r.what),
  )

  const ends = await db.query(
    `select t.id from ing_task t join ing_task_run r on r.id = t.last_run_id where t.repo_id = $1 and t.status = 'completed' and r.status_code <> 'SUCCEEDED'`,
    [repoId],
  )
  say(ends.rows.length > 0, 'a job is completed and its last run is not', ends.rows)
}

/** sha → message of all that `git rev-list --all` reaches. */
export function messagesOf(repo: TestRepo): Map<string, string> {
  const entries = repo.git('log', '--all', '--format=%H%x00%B%x01').split('\x01')
  return new Map(
    entries.flatMap((entry) => {
      const [sha = '', message = ''] = entry.trimStart().split('\0')
      return sha === '' ? [] : [[sha, message.trimEnd()] as const]
    }),
  )
}

function refsOf(repo: TestRepo): Record<string, string> {
  const lines = repo.git(
    'for-each-ref',
    '--format=%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)',
  )
  return Object.fromEntries(
    lines.split('\n').flatMap((line) => {
      const [name = '', type, id, inner, peeled] = line.split(' ')
      if (type === 'commit') return [[name, id as string]]
      return inner === 'commit' ? [[name, peeled as string]] : []
    }),
  )
}
