import type { VerifyReport } from '../../core/contracts/verify.ts'
import { count, visible } from '../output.ts'

export function verifyText(r: VerifyReport): string {
  const lines = [
    `${visible(r.repo)}: ${count(r.merge_requests_checked)} merge requests compared in ${count(r.total_requests)} requests${r.dry_run ? ', dry run' : ''}`,
    ...found('missing', r.missing),
    ...found('stale', r.stale),
    ...found('other comments', r.note_counts),
    ...found('deleted', r.deleted),
    ...(r.degraded_commits > 0 ? [`  commits read in part  ${count(r.degraded_commits)}`] : []),
    ...(r.degraded_reviews > 0 ? [`  reviews read in part  ${count(r.degraded_reviews)}`] : []),
    ...(r.gaps > 0 ? [`  numbers never seen  ${count(r.gaps)}`] : []),
    `  ${endOf(r)}`,
  ]
  if (r.message) lines.push(`  ${r.message}`)
  return lines.join('\n')
}

function endOf(r: VerifyReport): string {
  if (r.status === 'success') return 'all equal'
  if (r.dry_run) return 'nothing was queued: a dry run'
  return `${count(r.repairs_queued)} repair jobs queued${r.deleted.count > 0 ? ', what is gone marked as deleted' : ''}`
}

function found(what: string, { count: n, iids }: VerifyReport['missing']): string[] {
  if (n === 0) return []
  const more = n > iids.length ? ' …' : ''
  return [`  ${what}  ${count(n)}: ${iids.map((iid) => `!${iid}`).join(' ')}${more}`]
}
