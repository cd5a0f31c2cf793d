import type { Commit, Revision } from './facts.ts'

export interface BulkThresholds {
  git_total_changes: number
  git_files_changed: number
  svn_changed_paths: number
}

/** Why a commit counts as bulk (an import, a reformat), or null. Strictly greater, as the contract has it. */
export function bulkReason(commit: Commit, thresholds: BulkThresholds): string | null {
  const changes = (commit.additions ?? 0) + (commit.deletions ?? 0)
  if (changes > thresholds.git_total_changes)
    return `total_changes:${changes}>${thresholds.git_total_changes}`
  const files = commit.pathCount ?? 0
  if (files > thresholds.git_files_changed) return `files_changed:${files}>${thresholds.git_files_changed}`
  return null
}

/** The same of a revision: a branch is one path, an import thousands. */
export function bulkRevisionReason({ pathCount }: Revision, thresholds: BulkThresholds): string | null {
  const most = thresholds.svn_changed_paths
  return pathCount > most ? `changed_paths:${pathCount}>${most}` : null
}
