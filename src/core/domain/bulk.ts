import type { Commit, Revision } from './facts.ts'

export interface BulkThresholds {
  git_total_changes: number
  git_files_changed: number
  svn_changed_paths: number
  diff_size_bytes: number
}

/** Why a commit counts as bulk (an import, a reformat), or null. Strictly greater, as the contract has it. */
export function bulkReason(commit: Commit, thresholds: BulkThresholds): string | null {
  const changes = (commit.additions ?? 0) + (commit.deletions ?? 0)
  if (changes > thresholds.git_total_changes)
    return `total_changes:${changes}>${thresholds.git_total_changes}`
  const files = commit.pathCount ?? 0
  if (files > thresholds.git_files_changed) return `files_changed:${files}>${thresholds.git_files_changed}`
  return diffReason(commit, thresholds)
}

/** The same of a revision: a branch is one path, an import thousands. */
export function bulkRevisionReason(revision: Revision, thresholds: BulkThresholds): string | null {
  const { pathCount } = revision
  const most = thresholds.svn_changed_paths
  return pathCount > most ? `changed_paths:${pathCount}>${most}` : diffReason(revision, thresholds)
}

/** Of a diff that was read, whether it was kept or only told of. */
function diffReason(
  { patch, degraded }: Pick<Commit | Revision, 'patch' | 'degraded'>,
  { diff_size_bytes: most }: BulkThresholds,
): string | null {
  const told = /\bdiff_size:(\d+)/.exec(degraded ?? '')?.[1]
  const size = patch?.format === 'diff' ? patch.sizeBytes : Number(told ?? 0)
  return size > most ? `diff_size:${megabytes(size)}>${megabytes(most)}` : null
}

const megabytes = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(2)}MB`
