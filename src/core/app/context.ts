import type pg from 'pg'
import type { Logger } from 'pino'
import type { Config } from '../contracts/config.ts'
import type { Limits } from '../db/connect.ts'
import type { Json } from '../domain/ledger.ts'
import type { SourceKind } from '../domain/repo.ts'
import type { Trigger } from '../domain/trigger.ts'
import type { Source } from '../sources/source.ts'
import type { Paces } from './paces.ts'

/** Everything a use-case may touch; built once by runtime, passed first, never imported. */
export interface Context {
  db: pg.Pool
  config: Config
  /** The configuration as the ledger may keep it: without secrets. */
  configSnapshot: Json
  sources: Partial<Record<SourceKind, Source>>
  paces: Paces
  log: Logger
  now: () => Date
  newId: () => string
  /** Who asked for what is done now. */
  trigger: Trigger
  /** Aborted when the process has been asked to stop. */
  signal: AbortSignal
  /** Who holds what this process holds: `<host>-<pid>-<8 hex>`. */
  worker: string
  /** A folder for what can be made again. */
  cacheDir: string
  /** Tells a person how far long work is. Goes nowhere unless stderr is a terminal. */
  progress: (line: string) => void
}

/** The same, for what one trigger asks: its number is on every line of the log. */
export function underTrigger(ctx: Context, trigger: Trigger): Context {
  return { ...ctx, trigger, log: ctx.log.child({ correlationId: trigger.correlationId }) }
}

/** Limits of a transaction under a lease: a stopped owner has to let go before half of it is over. */
export function underLease(ctx: Context, leaseSeconds: number, signal: AbortSignal = ctx.signal): Limits {
  const transactionMs = (leaseSeconds * 1000) / 2 - 1
  return { transactionMs, statementMs: ctx.config.postgres.statement_timeout_ms ?? transactionMs, signal }
}
