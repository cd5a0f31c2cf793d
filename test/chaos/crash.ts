import type { Context } from '../../src/core/app/context.ts'
import { violations } from '../helpers/oracle.ts'
import { CUTS, type Plan, Wire } from './wire.ts'
import { age, buried, type Copy, type Process, startProcess, WINDOW, type World } from './world.ts'

interface Report {
  status: string
  error?: string | null
  errors?: string[]
  items_synced?: number
  total_items_synced?: number
  watermark_updated?: boolean
}

/** What is disturbed. The same command is given again afterwards, as a person would. */
export interface Command {
  name: string
  run: (copy: Copy, ctx: Context) => Promise<Report>
}

export const INCREMENTAL: Command = {
  name: 'incremental',
  run: (copy, ctx) => copy.incremental(ctx, 1),
}

export const BACKFILL: Command = {
  name: 'backfill',
  run: (copy, ctx) => copy.backfill({ wish: WINDOW, updateWatermark: true, lockWaitSeconds: 1 }, ctx),
}

export interface Found {
  hit: boolean
  /** What the disturbed process itself came to. */
  outcome: string
  broken: string[]
}

/** Every write of an undisturbed run, in every way it can go wrong. */
export async function pointsOf(world: World, command: Command, dies: boolean): Promise<Plan[]> {
  const sent = await writesOf(world, command)
  return sent.flatMap((_, i) => CUTS.map((how) => ({ at: i + 1, how, dies })))
}

/** What an undisturbed run sends, write by write. */
export async function writesOf(world: World, command: Command): Promise<string[]> {
  const copy = await world.copy()
  const wire = new Wire(null)
  const whole = startProcess(copy, wire, { settings: world.settings })
  await command.run(copy, whole.ctx)
  const sent = [...wire.sent]
  await whole.end()
  await copy.drop()
  return sent
}

/**
 * The command runs over a line that breaks at `plan`. Whatever it came to, the same command by another process must
 * then bring the same end as if nothing had happened.
 */
export async function crash(world: World, command: Command, plan: Plan): Promise<Found> {
  const copy = await world.copy()
  try {
    const wire = new Wire(plan)
    const first = startProcess(copy, wire, { settings: world.settings })
    let report: Report | null = null
    const outcome = await outcomeOf(async () => {
      report = await command.run(copy, first.ctx)
      return report
    })
    await first.end().catch(() => {})
    await buried(copy, first.ctx.worker)

    const broken = await violations({ ...copy, ever: world.ever, unsettled: true })
    if (!plan.dies && !isClean(outcome)) broken.push(`the process ended with ${outcome}`)
    if (outcome === 'success' && report) broken.push(...(await toldTrue(copy, report, first.ctx.worker)))
    await age(copy)
    broken.push(...(await finish(world, command, copy)))
    return { hit: wire.hit, outcome, broken }
  } finally {
    await copy.drop()
  }
}

/** What a process reports is what the ledger says it did. */
async function toldTrue(copy: Copy, report: Report, worker: string): Promise<string[]> {
  const [ledger] = await copy.query<{ synced: number }>(
    `select coalesce(sum((b.stats->>'synced')::int), 0)::int as synced from ing_task_run_batch b join ing_task_run r on r.id = b.run_id
      where r.worker_id = $1 and b.status_code = 'SUCCEEDED'`,
    [worker],
  )
  const told = report.items_synced ?? report.total_items_synced
  const broken =
    told === ledger?.synced ? [] : [`the report says ${told} items, the ledger ${ledger?.synced}`]
  if (report.watermark_updated === false) broken.push('the report says the watermark was not moved')
  return broken
}

/** The same command again, then whatever else is needed for the database to be held against the repository. */
export async function finish(world: World, command: Command, copy: Copy): Promise<string[]> {
  const broken: string[] = []
  const second = startProcess(copy, null, { settings: world.settings })
  const again = await outcomeOf(() => command.run(copy, second.ctx))
  if (again !== 'success') broken.push(`the same command again ended with ${again}`)
  if (command === BACKFILL) {
    broken.push(...(await backfilled(copy)))
    await copy.incremental(second.ctx)
  }
  await end(second)
  broken.push(...(await violations({ ...copy, ever: new Set([...world.ever, ...copy.repo.all()]) })))
  return broken
}

/** Three chunks, one plan, and the cursor at the end of the window by one event. */
async function backfilled(copy: Copy): Promise<string[]> {
  const [seen] = await copy.query(
    `select (select count(*)::int from ing_plan where operation_code = 'BACKFILL') as plans,
            (select count(*)::int from ing_task where mode = 'backfill') as jobs,
            (select string_agg(new_value, ' ') from ing_cursor_event where direction_code = 'FORWARD') as marks,
            (select value_json->>'watermark' from logbook.kv where namespace = 'scm.sync') as kv`,
  )
  const end = new Date(WINDOW.until).toISOString()
  const wanted = { plans: 1, jobs: 3, marks: end, kv: end }
  return JSON.stringify(seen) === JSON.stringify(wanted)
    ? []
    : [`the backfill came to ${JSON.stringify(seen)}`]
}

export async function outcomeOf(work: () => ReturnType<Command['run']>): Promise<string> {
  try {
    const report = await work()
    if (report.status === 'success') return 'success'
    return `${report.status}: ${report.error ?? report.errors?.join(' | ')}`
  } catch (error) {
    return `${(error as { kind?: string }).kind ?? 'thrown'}: ${(error as Error).message}`
  }
}

/** A process that lost its connection may fail, and says so. It is never kept out by itself. */
function isClean(outcome: string): boolean {
  return outcome === 'success' || /database: /.test(outcome)
}

async function end(process: Process): Promise<void> {
  await process.end().catch(() => {})
}
