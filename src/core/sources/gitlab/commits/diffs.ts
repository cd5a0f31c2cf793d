import { SyncError } from '../../../domain/errors.ts'
import type { ChangedPath, Commit, Tier } from '../../../domain/facts.ts'
import type { Diff } from '../../git/diffs.ts'
import { diffstatOf, MAX_PATCH_BYTES, patchOf } from '../../patch.ts'
import { MAX_PATHS, MAX_PATHS_BYTES } from '../../path.ts'
import type { Opened } from '../opened.ts'
import { changeOf } from '../records/diff.ts'
import { PER_PAGE } from '../shifting.ts'
import { isWeakness, reasonOf } from './weakness.ts'

/** Commits asked for side by side; the gate lets in as many as the server bears. */
const SIDE_BY_SIDE = 8

/** Failures in a row after which only one commit in fifty is asked for: each has cost all its retries. */
const MAX_FAILURES = 4
const ONE_IN = 50

/** Pages of one diff: GitLab shows 3,000 files at most. */
const MAX_DIFF_PAGES = 100

interface Changes extends Diff {
  text: string
  textBytes: number
  /** Why the text is not whole. */
  unread: string | null
}

/**
 * Fills in, for the commits of one reading, what tiers paths and patch ask for, a request a commit and more for long diffs. A commit whose diff cannot be
 * read keeps what its list told and says so in `degraded`; a diff too big to keep, or shown in part, becomes a diffstat,
 * and one that cannot be read its two sums. Refusals of everything (`auth`, `rate_limited`, `network`) are thrown.
 * A merge is at its tier with nothing in it, as in the git source.
 */
export function detailsOf(opened: Opened): (commits: Commit[]) => Promise<void> {
  const { tier } = opened.access
  let failures = 0
  let passedOver = 0

  const isHopeless = (): boolean => failures >= MAX_FAILURES && ++passedOver % ONE_IN !== 0

  return async (commits) => {
    if (tier === 'none') return
    for (const commit of commits) if (commit.parents.length > 1) commit.tier = tier
    if (tier === 'numstat') return

    const left = commits.filter(({ parents }) => parents.length < 2)
    let refused: unknown = null
    const work = async (): Promise<void> => {
      for (let commit = left.shift(); commit !== undefined && refused === null; commit = left.shift()) {
        try {
          if (!opened.access.asksDetails) fillWithout(commit, tier, 'left_out')
          else if (isHopeless()) fillWithout(commit, tier, 'server_error')
          else {
            fill(commit, tier, await readChanges(opened, commit.sha))
            failures = 0
          }
        } catch (error) {
          if (!isOfOneCommit(error)) refused ??= error
          if (isWeakness(error)) failures += 1
          fillWithout(commit, tier, reasonOf(error))
        }
      }
    }
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, work))
    if (refused !== null) throw refused
  }
}

function isOfOneCommit(error: unknown): boolean {
  return error instanceof SyncError && ['upstream', 'timeout', 'not_found'].includes(error.kind)
}

async function readChanges({ client, project }: Opened, sha: string): Promise<Changes> {
  const path = `projects/${project.id}/repository/commits/${sha}/diff`
  const texts: string[] = []
  const changes = { paths: [] as ChangedPath[], pathCount: 0, additions: 0, deletions: 0, intact: true }
  let [bytes, pathBytes, textBytes] = [0, 0, 0]
  let unread: string | null = null
  let before = ''
  for (let page = 1; page <= MAX_DIFF_PAGES; page++) {
    const { json, next } = await client.get(path, { per_page: PER_PAGE, page })
    const found = json.map(changeOf)
    const names = JSON.stringify(found.map(({ paths }) => paths))
    if (found.length > 0 && names === before)
      throw new SyncError('upstream', `protocol: the pages of the diff of ${sha} repeat`)
    before = names
    for (const change of found) {
      for (const changed of change.paths) {
        const size = Buffer.byteLength(changed.path)
        changes.pathCount += 1
        pathBytes += size
        changes.additions += changed.additions ?? 0
        changes.deletions += changed.deletions ?? 0
        // What is kept is the beginning, without gaps.
        if (changes.paths.length < changes.pathCount - 1) continue
        if (changes.paths.length >= MAX_PATHS || bytes + size > MAX_PATHS_BYTES) continue
        bytes += size
        changes.paths.push(changed)
      }
      if (change.sanitized.length > 0) changes.intact = false
      if (change.unread !== 'renamed') unread ??= change.unread
      textBytes += Buffer.byteLength(change.text)
      if (textBytes <= MAX_PATCH_BYTES) texts.push(change.text)
    }
    if (found.length > 0 && (next || found.length === PER_PAGE)) continue
    const cut = changes.paths.length < Math.min(MAX_PATHS, changes.pathCount)
    return { ...changes, bytes, cutFrom: cut ? pathBytes : null, text: texts.join(''), textBytes, unread }
  }
  throw new SyncError('upstream', `protocol: the diff of ${sha} does not end`)
}

function fill(commit: Commit, tier: Tier, changes: Changes): void {
  if (!changes.intact) commit.sanitized.push('paths')
  if (changes.cutFrom !== null) addReason(commit, `paths_size:${changes.cutFrom}`)
  commit.pathCount = changes.pathCount
  if (tier === 'paths') {
    commit.tier = 'paths'
    commit.paths = changes.paths.map(({ path, action }) => ({ path, action }))
    return
  }
  commit.paths = changes.paths
  // The list's sums are whole; those of a diff shown in part are not.
  if (commit.tier === 'none' && changes.unread === null) commit.tier = 'numstat'
  if (commit.tier === 'none') commit.tier = 'paths'
  else {
    commit.additions ??= changes.additions
    commit.deletions ??= changes.deletions
  }
  const diff = { ...changes, additions: commit.additions, deletions: commit.deletions }
  const tooBig = changes.textBytes > MAX_PATCH_BYTES
  if (tooBig || changes.unread !== null) {
    addReason(commit, tooBig ? `diff_size:${changes.textBytes}` : `diff:${changes.unread}`)
    if (commit.tier === 'numstat') commit.patch = diffstatOf(diff)
    return
  }
  if (commit.tier !== 'numstat') return
  commit.tier = 'patch'
  commit.patch = patchOf('diff', changes.text)
}

function fillWithout(commit: Commit, tier: Tier, reason: string): void {
  addReason(commit, `diff:${reason}`)
  if (tier === 'paths' || commit.tier === 'none') return
  const sums = ` ${commit.additions} insertions(+), ${commit.deletions} deletions(-)\n`
  commit.patch = patchOf('ministat', sums)
}

function addReason(commit: Commit, reason: string): void {
  commit.degraded = commit.degraded === null ? reason : `${commit.degraded},${reason}`
}
