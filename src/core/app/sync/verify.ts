import type { VerifyReport } from '../../contracts/verify.ts'
import { databaseNow } from '../../db/connect.ts'
import * as audits from '../../db/facts/audit.ts'
import { observedMax } from '../../db/ledger/cursors.ts'
import { insertPlans, type NewPlan } from '../../db/ledger/plans.ts'
import { ANYTHING, recordTrigger } from '../../db/ledger/triggers.ts'
import { clustersOf } from '../../domain/clusters.ts'
import { LOOKBACK_MS } from '../../domain/cursor.ts'
import { SyncError } from '../../domain/errors.ts'
import type { MergeRequest } from '../../domain/facts.ts'
import { type JobType, provenanceOf, type Repo, spell } from '../../domain/repo.ts'
import type { Audit, Reading } from '../../sources/source.ts'
import type { Context } from '../context.ts'
import { findRepo, sourceFor } from '../find-repo.ts'
import { mainLine } from './land-cursor.ts'
import { accessTo, openSource, requireSyncable } from './open-source.ts'
import { auditPlan } from './plan-backfill.ts'
import { triggerOf } from './plan-incremental.ts'

export interface VerifyAsk {
  repo: string
  dryRun: boolean
}

interface Findings {
  checked: number
  gaps: number
  missing: Found[]
  stale: Found[]
  notes: Found[]
  deleted: number[]
}

/** A merge request that differs, and when it was updated last. */
interface Found {
  iid: number
  at: number
}

/**
 * Holds every merge request of a project against what is stored: the one way to see what GitLab changes without saying
 * so (a comment taken back, a merge request deleted). What is missing or stale is read again by backfill jobs, as are
 * commits and reviews of which a part could not be read; what is gone is marked.
 */
export async function verify(ctx: Context, ask: VerifyAsk): Promise<VerifyReport> {
  const repo = await findRepo(ctx, ask.repo)
  requireSyncable(ctx, repo, 'mrs')
  const reading = await openFor(ctx, repo, ask)
  const seen = { mrs: await seenBy(ctx, repo, 'mrs'), reviews: await seenBy(ctx, repo, 'reviews') }
  const audit = (await reading.audit?.()) ?? null
  const found = audit === null || seen.mrs === null ? nothingFound() : await compare(ctx, repo, seen, audit)
  const { tier } = accessTo(ctx, repo, ctx.signal)
  const commits = await audits.degradedCommits(ctx.db, repo.repoId, tier)
  const reviews = await audits.degradedReviews(ctx.db, repo.repoId)

  const { missing, stale, notes, deleted } = found
  const differs = [missing, stale, notes, deleted, commits, reviews].some((some) => some.length > 0)
  const queued = ask.dryRun ? 0 : await repair(ctx, repo, seen, found, { commits, reviews })

  return {
    phase: 'verify',
    repo: ask.repo,
    dry_run: ask.dryRun,
    status: differs ? 'partial' : 'success',
    merge_requests_checked: found.checked,
    missing: shown(missing.map(({ iid }) => iid)),
    stale: shown(stale.map(({ iid }) => iid)),
    note_counts: shown(notes.map(({ iid }) => iid)),
    deleted: shown(deleted),
    gaps: found.gaps,
    degraded_commits: commits.length,
    degraded_reviews: reviews.length,
    repairs_queued: queued,
    total_requests: reading.usage?.().requests ?? 0,
    message: messageOf(audit, seen, queued),
    exit_code: differs ? 1 : 0,
  }
}

/** Of a dry run nothing is kept, not even what the upstream says of itself. */
function openFor(ctx: Context, repo: Repo, { dryRun }: VerifyAsk): Promise<Reading> {
  return dryRun
    ? sourceFor(ctx, repo.kind).open(accessTo(ctx, repo, ctx.signal))
    : openSource(ctx, repo, ctx.signal)
}

/** Updates up to then must be stored: the next listing begins a little before the last one seen. */
async function seenBy(ctx: Context, repo: Repo, jobType: JobType): Promise<number | null> {
  const seen = await observedMax(ctx.db, mainLine({ provenance: provenanceOf(repo), jobType }))
  return seen && seen.getTime() + LOOKBACK_MS
}

const nothingFound = (): Findings => ({
  checked: 0,
  gaps: 0,
  missing: [],
  stale: [],
  notes: [],
  deleted: [],
})

/** Numbers that are neither listed nor stored are asked for, so many of them: a hundred requests. */
const MOST_GAPS_ASKED = 10_000

async function compare(ctx: Context, repo: Repo, seen: audits.Seen, audit: Audit): Promise<Findings> {
  const found = nothingFound()
  const listed = new Set<number>()
  const look = async (mrs: MergeRequest[]) => {
    const at = new Map(mrs.map((mr) => [mr.iid, mr.updatedAt]))
    for (const { iid } of mrs) listed.add(iid)
    for (const { iid, what } of await audits.differences(ctx.db, repo.repoId, mrs, seen))
      found[what].push({ iid, at: at.get(iid) as number })
    ctx.progress(`${listed.size} merge requests compared`)
  }
  for await (const mrs of audit.all()) await look(mrs)

  // The list was paged while it may have changed: what it did not show is asked for by number.
  const stored = await audits.storedIids(ctx.db, repo.repoId)
  if (listed.size === 0 && stored.length > 0)
    throw new SyncError('anomaly', `${spell(repo)} lists no merge request, ${stored.length} are stored`, {
      hint: 'see whether the token may still read them; nothing was marked deleted',
    })
  const known = new Set(stored)
  const unlisted = stored.filter((iid) => !listed.has(iid))
  const highest = [...listed, ...stored].reduce((a, b) => Math.max(a, b), 0)
  const gaps: number[] = []
  for (let iid = highest; iid > 0 && gaps.length < MOST_GAPS_ASKED; iid--)
    if (!listed.has(iid) && !known.has(iid)) gaps.push(iid)
  for await (const mrs of audit.some([...unlisted, ...gaps])) await look(mrs)

  const deleted = stored.filter((iid) => !listed.has(iid))
  return { ...found, checked: listed.size, gaps: highest - listed.size - deleted.length, deleted }
}

/** Nearer than this, one window and one visit. */
const REST_MS = 600_000
const MOST_JOBS = 100

async function repair(
  ctx: Context,
  repo: Repo,
  seen: audits.Seen,
  { missing, stale, notes, deleted }: Findings,
  degraded: { commits: number[]; reviews: number[] },
): Promise<number> {
  if (deleted.length > 0) await audits.markMrsDeleted(ctx.db, repo.repoId, deleted)
  const rows = [...missing, ...stale].map(({ at }) => at)
  const wanted: [JobType, number[]][] = [
    ['mrs', rows],
    ['reviews', [...(seen.reviews === null ? [] : rows), ...notes.map(({ at }) => at), ...degraded.reviews]],
    ['commits', degraded.commits],
  ]
  const asked = (await databaseNow(ctx.db)).toISOString()
  const plans: NewPlan[] = []
  for (const [jobType, instants] of wanted) {
    if (instants.length === 0) continue
    const plan = auditPlan(repo, jobType, clustersOf(instants, REST_MS, MOST_JOBS), asked)
    if (!(await audits.isUnderway(ctx.db, plan.provenance, plan.requestHash))) plans.push(plan)
  }
  if (plans.length === 0) return 0
  const trigger = await recordTrigger(
    ctx.db,
    triggerOf(ctx, 'MANUAL', { phase: 'verify', repo: repo.locator }),
    ANYTHING,
  )
  const made = await insertPlans(ctx.db, trigger, plans)
  return made.reduce((jobs, plan) => jobs + plan.jobs, 0)
}

function messageOf(audit: Audit | null, seen: audits.Seen, queued: number): string | null {
  const said = [
    ...(audit === null ? ['merge requests are switched off: none were compared'] : []),
    ...(audit !== null && seen.mrs === null ? ['mrs were never synced: none were compared'] : []),
    ...(queued > 0 ? ['workers do the repairs; at once: engram-scm-worker --drain'] : []),
  ]
  return said.length > 0 ? said.join('; ') : null
}

const MOST_SHOWN = 20

const shown = (iids: number[]) => ({ count: iids.length, iids: iids.slice(0, MOST_SHOWN) })
