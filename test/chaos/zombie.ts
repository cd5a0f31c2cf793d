import { violations } from '../helpers/oracle.ts'
import { type Command, type Found, finish, outcomeOf } from './crash.ts'
import { Wire } from './wire.ts'
import { age, type Copy, startProcess, type World } from './world.ts'

export interface Woken extends Found {
  /** Where it was stopped: in the middle of a transaction, or between two. */
  inside: boolean
}

/**
 * A process is stopped before its `at`-th write. The repository moves on, the lease runs out, another process brings
 * everything to its end. Then the first one wakes up and goes on where it was: nothing it still writes may count.
 * Half the lease is the longest it can sit in a transaction, and what each such point costs.
 */
export async function zombie(world: World, command: Command, at: number, leaseSeconds = 1): Promise<Woken> {
  const copy = await world.copy({ ownRepo: true })
  try {
    const ever = new Set([...world.ever])
    const wire = new Wire({ at, how: 'hold', dies: false })
    const first = startProcess(copy, wire, { settings: world.settings, lease: leaseSeconds })
    const { worker } = first.ctx
    const ending = outcomeOf(() => command.run(copy, first.ctx))
    await Promise.race([wire.reached, ending])

    const broken: string[] = []
    const inside = wire.hit && (await sitsInTransaction(copy, worker))
    const owned =
      wire.hit && (await copy.query('select 1 from scm.sync_locks where locked_by = $1', [worker])).length > 0
    for (const sha of moveOn(copy)) ever.add(sha)
    await age(copy)
    broken.push(...(await finish({ ...world, ever }, command, copy)))
    if (inside && wire.fenced && (await sitsInTransaction(copy, worker)))
      broken.push('the job was taken over while its owner sat in a transaction behind the fence')
    const after = await ledger(copy)

    wire.release()
    const outcome = await ending
    await first.end().catch(() => {})
    if (owned && !isLost(outcome))
      broken.push(`the zombie, ${inside ? 'inside' : 'outside'} a transaction, ended with ${outcome}`)
    if (owned && (await ledger(copy)) !== after) broken.push('the zombie still wrote')
    for (const sha of copy.repo.all()) ever.add(sha)
    broken.push(...(await violations({ ...copy, ever })))
    return { hit: wire.hit, inside, outcome, broken }
  } finally {
    await copy.drop()
  }
}

/** What is being read is left behind by a forced push, and something else takes its place. */
function moveOn({ repo }: Copy): string[] {
  repo.git('update-ref', 'refs/heads/main', 'main~5')
  repo.commit('after the zombie', { date: 1_709_290_000 })
  return repo.all()
}

async function sitsInTransaction(copy: Copy, worker: string): Promise<boolean> {
  for (;;) {
    const states = await copy.query<{ state: string }>(
      'select state from pg_stat_activity where application_name = $1 and datname = current_database()',
      [worker],
    )
    if (states.some((s) => s.state.startsWith('idle in transaction'))) return true
    if (states.every((s) => s.state !== 'active')) return false
  }
}

/** All that a late owner could still touch. */
async function ledger(copy: Copy): Promise<string> {
  const [all] = await copy.query<{ text: string }>(
    `select md5(string_agg(line, '\n' order by line)) as text from (
       select 'commit ' || commit_sha || xmin || coalesce(unreachable_since::text, '') as line from scm.git_commits
       union all select 'ref ' || ref_name || sha || xmin from scm.git_refs
       union all select 'job ' || id || status || fence || attempts from ing_task
       union all select 'run ' || id || status_code || fence from ing_task_run
       union all select 'batch ' || id || status_code || coalesce(after_token, '') from ing_task_run_batch
       union all select 'event ' || id from ing_cursor_event
       union all select 'cursor ' || cursor_value || version from ing_cursor) every`,
  )
  return all?.text ?? ''
}

/** lease lost, or the lock is another's by now; never a bug, never a success of work that is not its own. */
function isLost(outcome: string): boolean {
  return /no longer ours|lease is over|taken over|could not be renewed|is being synced by/.test(outcome)
}
