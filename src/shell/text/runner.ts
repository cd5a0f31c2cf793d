import type { BackfillReport } from '../../core/contracts/backfill.ts'
import type { IncrementalReport } from '../../core/contracts/incremental.ts'
import type { BackfillPreview, IncrementalPreview } from '../../core/contracts/preview.ts'
import { count, visible } from '../output.ts'
import { table } from '../table.ts'

export function incrementalText(r: IncrementalReport): string {
  const what = `${visible(r.repo)} ${r.job}`
  if (r.error !== null)
    return `error: ${what}: ${visible(r.error)}${r.hint ? `\n  → ${visible(r.hint)}` : ''}`
  const seconds = (Date.parse(r.finished_at) - Date.parse(r.started_at)) / 1000
  const told = r.message ? `\n  ${visible(r.message)}` : ''
  return `${what}: ${r.status}, ${count(r.items_synced)} synced in ${seconds.toFixed(1)} s${told}`
}

export function previewIncrementalText(r: IncrementalPreview): string {
  const lines = [
    `${visible(r.repo)} ${r.job}: dry run, nothing was written`,
    `  from      ${r.since ?? 'the beginning'}${r.refetch_since ? ` (reads again from ${r.refetch_since})` : ''}`,
    ...(r.refs ? [`  refs      ${count(r.refs.moved)} of ${count(r.refs.total)} moved`] : []),
    `  to store  ${r.items_found === null ? 'unknown until fetched' : `${count(r.items_found)} in ${count(r.pages ?? 0)} pages`}`,
  ]
  if (r.resumes_job !== null) lines.push(`  resumes   job ${r.resumes_job}`)
  if (r.message) lines.push(`  ${visible(r.message)}`)
  return lines.join('\n')
}

export function backfillText(r: BackfillReport): string {
  const head = `${visible(r.repo)} ${r.job}: ${r.status}, ${r.success_chunks} of ${r.total_chunks} chunks, ${count(r.total_items_synced)} synced, ${count(r.total_items_skipped)} unchanged`
  const lines = [head, ...grouped(r.chunk_results)]
  if (r.watermark_updated) lines.push(`  watermark ${r.watermark_before ?? 'none'} → ${r.watermark_after}`)
  if (r.message) lines.push(`  ${visible(r.message)}`)
  return lines.join('\n')
}

export function previewBackfillText(r: BackfillPreview): string {
  const ends = 'since' in r ? ['since', 'until'] : ['first', 'last']
  const rows = r.chunks.map((c) => [
    c.chunk_index,
    ...('since' in c ? [c.since, c.until] : [c.start_rev, c.end_rev]),
    c.items_found ?? 'unknown until fetched',
  ])
  const note = r.message ? `\n${visible(r.message)}` : ''
  return `${visible(r.repo)} ${r.job}: dry run of ${r.total_chunks} chunks, nothing was written\n${table(['chunk', ...ends, 'to read'], rows)}${note}`
}

/** Chunks that failed for the same reason, in one line. */
function grouped(chunks: BackfillReport['chunk_results']): string[] {
  const reasons = new Map<string, number[]>()
  for (const c of chunks) if (c.error) reasons.set(c.error, [...(reasons.get(c.error) ?? []), c.chunk_index])
  return [...reasons].map(([why, [first, ...others]]) =>
    others.length === 0
      ? `  chunk ${first} failed: ${visible(why)}`
      : `  ${others.length + 1} chunks failed, ${first} the first: ${visible(why)}`,
  )
}
