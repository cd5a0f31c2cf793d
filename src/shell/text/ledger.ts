import type * as view from '../../core/contracts/ledger-view.ts'
import { count, visible } from '../output.ts'
import { table } from '../table.ts'

export const plansText = (r: view.PlansReport) =>
  r.plans.length === 0
    ? 'no such plan'
    : table(
        ['plan', 'repository', 'kind', 'operation', 'window', 'status', 'slices', 'trigger', 'planned'],
        r.plans.map((p) => [
          p.plan_id,
          p.repo,
          p.job_type,
          p.operation,
          span(p.window),
          p.status,
          `${p.slices_succeeded}/${p.slices}`,
          p.trigger_id,
          p.created_at,
        ]),
      )

export function planText({ plan: p, trigger, slices, missing, remarks }: view.PlanReport): string {
  const rows = slices.map((s) => [
    s.slice_no,
    span(s.window),
    s.status,
    s.job_id,
    s.job_status,
    s.attempts,
    s.last_run_id,
    s.error,
  ])
  return [
    `plan ${p.plan_id}: ${visible(p.repo ?? 'a repository that is gone')} ${p.job_type}, ${p.operation}, ${p.status}`,
    `  window   ${span(p.window)} in ${count(p.slices)} slices, ${count(p.slices_succeeded)} succeeded`,
    `  asked by ${triggerText(trigger)}`,
    ...missing.map((m) => `  missing  ${span(m)}`),
    ...remarks.map((remark) => `  noted    ${visible(JSON.stringify(remark))}`),
    table(['slice', 'window', 'status', 'job', 'job status', 'tries', 'run', 'error'], rows),
  ].join('\n')
}

export const runsText = (r: view.RunsReport) =>
  r.runs.length === 0
    ? 'no such run'
    : table(
        [
          'run',
          'repository',
          'kind',
          'plan',
          'slice',
          'try',
          'status',
          'pages',
          'synced',
          'started',
          'ended',
          'error',
        ],
        r.runs.map((x) => [
          x.run_id,
          x.repo,
          x.job_type,
          x.plan_id,
          x.slice_no,
          x.attempt,
          x.status,
          x.pages,
          x.synced,
          x.started_at,
          x.finished_at,
          x.error,
        ]),
      )

export function runText({ run: x, trigger, batches, cursor_events: moves }: view.RunReport): string {
  const pages = table(
    ['page', 'from', 'to', 'records', 'status', 'stored', 'error'],
    batches.map((b) => [
      b.batch_no,
      b.before_token || null,
      b.after_token,
      b.record_count,
      b.status,
      b.committed_at,
      b.error,
    ]),
  )
  return [
    runLine(x),
    `  asked by ${triggerText(trigger)}`,
    ...(x.error ? [`  error    ${visible(x.error)}`] : []),
    ...moves.map(moveLine),
    batches.length === 0 ? '  no page: it found nothing, or did not get that far' : pages,
  ].join('\n')
}

export function lineageText(r: view.LineageReport): string {
  const batch = r.batch
  return [
    `${r.kind} ${visible(r.id)} of ${visible(r.repo)}, written ${r.written_at}`,
    `  page     ${batch ? `${batch.batch_no}, ` : ''}batch ${r.batch_id}${batch ? `, ${count(batch.record_count)} records` : ''}`,
    r.run ? `  by       ${runLine(r.run)}` : `  by       run ${r.run_id}`,
    ...(r.plan ? [`  plan     ${r.plan.plan_id}, ${r.plan.operation} ${span(r.plan.window)}`] : []),
    ...(r.run ? [`  asked by ${triggerText(r.trigger)}`] : []),
    ...(r.planned_by ? [`  planned for ${triggerText(r.planned_by)}`] : []),
    ...r.cursor_events.map(moveLine),
    ...(r.message ? [`  ${r.message}`] : []),
  ].join('\n')
}

function runLine(x: view.RunListed): string {
  const slice = x.slice_no === null ? '' : `, slice ${x.slice_no}`
  return `run ${x.run_id}: job ${x.job_id}${slice}, try ${x.attempt}, ${x.status}, ${count(x.synced)} synced in ${count(x.pages)} pages, by ${visible(x.worker)}`
}

function triggerText(t: view.TriggerShown | null): string {
  if (t === null) return 'nobody any more: its record was pruned'
  const job = t.scheduler_job_id === null ? '' : ` job ${visible(t.scheduler_job_id)}`
  const log = t.scheduler_log_id === null ? '' : ` log ${visible(t.scheduler_log_id)}`
  return `trigger ${t.trigger_id}: ${t.scheduler_code}${job}${log}, ${t.trigger_type}, ${t.triggered_at}, correlation ${visible(t.correlation_id ?? '-')}`
}

const moveLine = (m: view.CursorMoved) =>
  `  cursor   ${visible(m.from ?? 'nothing')} → ${visible(m.to)} (${m.direction}, event ${m.event_id})`

const span = ({ from, to }: view.Span) =>
  `${visible(from ?? 'the beginning')} to ${visible(to ?? 'the newest')}`
