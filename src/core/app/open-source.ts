import { mkdirSync } from 'node:fs'
import { patiently } from '../db/connect.ts'
import type { HeldJob } from '../db/jobs.ts'
import { headsKnown } from '../db/refs.ts'
import { SyncError } from '../domain/errors.ts'
import { type JobType, type Repo, spell } from '../domain/repo.ts'
import type { Access, Ask, Reading } from '../sources/source.ts'
import type { Context } from './context.ts'
import { sourceFor } from './find-repo.ts'

/** What the source of a repository may see of the program. */
export function accessTo(ctx: Context, repo: Repo, signal: AbortSignal): Access {
  const { git } = ctx.config.scm
  return {
    locator: repo.locator,
    tier: git.tier,
    pageSize: git.page_size,
    cacheDir: ctx.cacheDir,
    credentials:
      git.credential_host && git.password
        ? { host: git.credential_host, username: git.username ?? 'oauth2', password: git.password }
        : null,
    signal,
    say: ctx.progress,
  }
}

export async function openSource(ctx: Context, repo: Repo, signal: AbortSignal): Promise<Reading> {
  mkdirSync(ctx.cacheDir, { recursive: true, mode: 0o700 })
  return sourceFor(ctx, repo.kind).open(accessTo(ctx, repo, signal))
}

/** Refuses what cannot be synced: a job type this kind has not, a repository somebody removed. */
export function requireSyncable(ctx: Context, repo: Repo, jobType: JobType): void {
  if (!repo.enabled) {
    throw new SyncError('usage', `${spell(repo)} was removed from syncing`, {
      hint: `take it up again: engram-scm-sync repos add ${spell(repo)}`,
    })
  }
  const { jobTypes } = sourceFor(ctx, repo.kind)
  if (!jobTypes.includes(jobType)) {
    throw new SyncError('usage', `a ${repo.kind} repository has no ${jobType}`, {
      hint: `it has: ${jobTypes.join(', ')}`,
    })
  }
}

type Slice = Pick<HeldJob, 'mode' | 'repoId' | 'spec'>

/** The slices of jobs, as their sources understand them, in one look for all of them. */
export async function asksOf(ctx: Context, jobs: Slice[]): Promise<Ask[]> {
  const repoIds = jobs.filter((job) => job.mode !== 'backfill').map((job) => job.repoId)
  const heads =
    repoIds.length > 0 ? await patiently(ctx.signal, () => headsKnown(ctx.db, repoIds)) : new Map()
  return jobs.map(({ mode, repoId, spec: { window, refetch_since: refetch } }) =>
    mode === 'backfill'
      ? { window: 'time', since: new Date(window.from as string), until: new Date(window.to as string) }
      : { window: 'new', ...heads.get(repoId), refetchSince: refetchSince(refetch) },
  )
}

export async function askOf(ctx: Context, job: Slice): Promise<Ask> {
  const [ask] = await asksOf(ctx, [job])
  return ask as Ask
}

export function refetchSince(spec: string | undefined): Date | 'beginning' | null {
  if (spec === undefined || spec === null) return null
  return spec === 'beginning' ? 'beginning' : new Date(spec)
}
