import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type pg from 'pg'
import { openPool } from '../../src/core/db/connect.ts'
import { migrate } from '../../src/core/db/migrate.ts'
import { ensureServer } from '../../src/core/embedded/server.ts'

/** Stands in every DSN, and must stand in nothing that is printed. */
export const CANARY = 'canary-4711-password'

/** A PostgreSQL server of one test file's own, to be stopped, killed and starved; with a migrated database. */
export interface OwnServer {
  dsn: string
  db: pg.Pool
  /** As the tests ask it, however often it was restarted: tried again until it answers. */
  query: <T = Record<string, unknown>>(sql: string, values?: unknown[]) => Promise<T[]>
  start: () => Promise<void>
  /** fast: SIGINT, immediate: SIGQUIT. Resolves when it is gone. */
  stop: (mode: 'fast' | 'immediate') => Promise<void>
  /** Every process of it, the postmaster first. */
  pids: () => number[]
  signal: (signal: NodeJS.Signals) => void
  drop: () => Promise<void>
}

const PATIENCE_MS = 20_000

export async function ownServer(): Promise<OwnServer> {
  const base = mkdtempSync(join(tmpdir(), 'faults-'))
  chmodSync(base, 0o755)
  const place = { baseDir: join(base, 'pg') }
  let { pid, dsn } = await ensureServer(place)
  dsn += `&password=${CANARY}`
  const db = openPool({ dsn, max: 3, applicationName: 'test', statementTimeoutMs: 30_000 })
  await migrate(db)

  const pids = () => [pid, ...processes().filter((one) => parentOf(one) === pid)]
  const signal = (name: NodeJS.Signals) => {
    for (const one of pids()) {
      try {
        process.kill(one, name)
      } catch {
        // Gone since it was listed.
      }
    }
  }
  const stop = async (mode: 'fast' | 'immediate') => {
    process.kill(pid, mode === 'fast' ? 'SIGINT' : 'SIGQUIT')
    while (parentOf(pid) !== null) await pause(5)
  }
  return {
    dsn,
    db,
    query: async <T>(sql: string, values: unknown[] = []) => {
      for (const end = performance.now() + PATIENCE_MS; ; await pause(20)) {
        try {
          return (await db.query(sql, values)).rows as T[]
        } catch (error) {
          if (performance.now() > end || /^(22|23|42)/.test((error as { code?: string }).code ?? ''))
            throw error
        }
      }
    },
    start: async () => {
      ;({ pid } = await ensureServer(place))
    },
    stop,
    pids,
    signal,
    drop: async () => {
      if (parentOf(pid) !== null) {
        signal('SIGCONT')
        await db.end()
        await stop('immediate')
      }
      rmSync(base, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

export function processes(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

/** null: gone, or a zombie. */
export function parentOf(pid: number): number | null {
  try {
    const [state, parent] = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    return state === 'Z' ? null : Number(parent)
  } catch {
    return null
  }
}
