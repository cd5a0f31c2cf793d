import type { BreakerListed, BreakerReport, BreakersReport } from '../../contracts/admin.ts'
import { type Db, databaseNow } from '../../db/connect.ts'
import { isRegistered } from '../../db/facts/repos.ts'
import { lockKv, putKv, removeKv } from '../../db/ledger/kv.ts'
import { KV_BREAKERS } from '../../db/queue/breakers.ts'
import { breakerRows } from '../../db/report/status.ts'
import { CLOSED, openedByHand } from '../../domain/breaker.ts'
import { breakerRow, readBreaker } from '../../domain/breaker-row.ts'
import { SyncError } from '../../domain/errors.ts'
import type { Context } from '../context.ts'
import { type Operator, operate, outcomeOf } from './operate.ts'

/** null: the one of everything. */
interface BreakerAsked {
  key: string | null
}

export async function listBreakers(ctx: Context): Promise<BreakersReport> {
  const breakers = (await breakerRows(ctx.db)).map(({ key, value }) => shown(key, value))
  return { status: 'success', breakers, count: breakers.length, exit_code: 0 }
}

/** Stops what its scope is: nothing is made, nothing claimed; what runs is finished. Until a person closes it. */
export async function openBreaker(ctx: Context, ask: BreakerAsked, as: Operator): Promise<BreakerReport> {
  const key = keyOf(ctx, ask)
  return changeBreaker(ctx, 'breakers open', key, as, async (tx) => {
    await requireScope(tx, scopeIn(ctx, key))
    return openedByHand(await secondsOf(tx), as.reason ?? 'manual')
  })
}

/** Only runs that begin from now on count for it. */
export async function closeBreaker(ctx: Context, ask: BreakerAsked, as: Operator): Promise<BreakerReport> {
  return changeBreaker(ctx, 'breakers close', keyOf(ctx, ask), as, async () => CLOSED)
}

/** As if there had never been one. */
export async function resetBreaker(ctx: Context, ask: BreakerAsked, as: Operator): Promise<BreakerReport> {
  return changeBreaker(ctx, 'breakers reset', keyOf(ctx, ask), as, async () => null)
}

/** Where there is no row, there is nothing to close: it is closed. */
async function changeBreaker(
  ctx: Context,
  action: 'breakers open' | 'breakers close' | 'breakers reset',
  key: string,
  as: Operator,
  made: (tx: Db) => Promise<Parameters<typeof breakerRow>[1] | null>,
): Promise<BreakerReport> {
  return operate(ctx, action, as, async (tx) => {
    const before = await lockKv(tx, KV_BREAKERS, key)
    const isThere = before !== null || action === 'breakers open'
    const breaker = isThere ? await made(tx) : null
    const after = breaker && breakerRow(key, breaker)
    if (after) await putKv(tx, KV_BREAKERS, key, after)
    else if (isThere) await removeKv(tx, KV_BREAKERS, key)
    return {
      report: {
        ...outcomeOf(isThere ? 1 : 0, isThere ? 0 : 1),
        dry_run: as.dryRun,
        key,
        before: before === null ? null : shown(key, before),
        after: after && shown(key, after),
      },
      changes: isThere ? [{ target: { key }, before, after }] : [],
    }
  })
}

async function secondsOf(tx: Db): Promise<number> {
  return (await databaseNow(tx)).getTime() / 1000
}

const SCOPED = /^(instance|tenant):(.+)$/s

/** Only those of this project: nobody would look at another. */
function keyOf(ctx: Context, { key }: BreakerAsked): string {
  const project = ctx.config.project.project_key
  const named = key ?? `${project}:global`
  const scope = named.startsWith(`${project}:`) ? scopeIn(ctx, named) : ''
  if (scope === 'global' || SCOPED.test(scope)) return named
  throw new SyncError('usage', `${JSON.stringify(named)} is not the key of a breaker`, {
    hint: `${project}:global, ${project}:instance:<host> or ${project}:tenant:<id>`,
  })
}

const scopeIn = (ctx: Context, key: string) => key.slice(ctx.config.project.project_key.length + 1)

/** A slip in a name would stop nothing, and nobody would notice. */
async function requireScope(db: Db, named: string): Promise<void> {
  const [, scope, name = ''] = SCOPED.exec(named) ?? []
  if (scope === undefined) return
  if (await isRegistered(db, scope === 'instance' ? { instance: name } : { tenant: name })) return
  throw new SyncError('not_found', `no repository is of the ${scope} ${JSON.stringify(name)}`, {
    hint: 'engram-scm-sync repos list --json shows instance and tenant of each',
  })
}

function shown(key: string, value: unknown): BreakerListed {
  const { state, byHand, openedAt, reason } = readBreaker(value)
  const opened = new Date((openedAt ?? Number.NaN) * 1000)
  return {
    key,
    state,
    by_hand: byHand,
    opened_at: Number.isNaN(opened.getTime()) ? null : opened.toISOString(),
    reason,
    value,
  }
}
