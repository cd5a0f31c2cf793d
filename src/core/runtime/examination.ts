import type { Account, Examined } from '../app/examine/examined.ts'
import type { Config } from '../contracts/config.ts'
import { openPool } from '../db/connect.ts'
import { SyncError } from '../domain/errors.ts'
import { findServer } from '../embedded/server.ts'
import { gitVersion } from '../sources/git/version.ts'
import { introduce } from '../sources/gitlab/introduce.ts'
import { svnVersion } from '../sources/svn/version.ts'
import { dataDir, embeddedDir } from './database.ts'
import { accountsOf } from './gitlab.ts'
import { gitSurroundings, inspectedConfig, type Request } from './open.ts'

export interface Examination {
  of: Omit<Examined, 'registered'>
  close: () => Promise<void>
}

/** Gathers what may be examined. Nothing is started, and what is missing or wrong is told, not thrown. */
export async function openExamination(
  request: Pick<Request, 'flags' | 'configFile' | 'signal'>,
): Promise<Examination> {
  const { loaded, problems } = inspectedConfig(request)
  const config = loaded?.config ?? null
  const { signal } = request
  const database = config === null ? unknown : await lookForDatabase(config)
  const db = database.dsn === null ? null : openPool({ ...POOL, dsn: database.dsn })
  const surroundings = gitSurroundings()
  return {
    of: {
      configuration: { file: loaded?.file ?? null, problems, warnings: loaded?.warnings ?? [] },
      config,
      db,
      noDatabase: database.why,
      embeddedDir: config === null || config.postgres.dsn ? null : embeddedDir(config),
      dataDir: config && dataDir(config),
      programs: {
        git: () => gitVersion(surroundings, signal),
        svn: () => svnVersion(surroundings, signal),
      },
      accounts: config === null ? [] : gitlabAccounts(config, signal),
      now: () => new Date(),
      signal,
    },
    close: async () => {
      // A server that does not answer gets no longer than the questions did.
      await Promise.race([db?.end(), new Promise((resolve) => setTimeout(resolve, 500).unref())])
    },
  }
}

const POOL = { max: 4, applicationName: 'engram-scm-doctor', statementTimeoutMs: 4_000 }

interface Found {
  dsn: string | null
  why: Examined['noDatabase']
}

const unknown: Found = {
  dsn: null,
  why: {
    found: 'not asked: the configuration is wrong, so which database is meant is not known',
    remedy: 'put the configuration right first',
    isFailure: false,
  },
}

async function lookForDatabase(config: Config): Promise<Found> {
  if (config.postgres.dsn) return { dsn: config.postgres.dsn, why: null }
  const folder = embeddedDir(config)
  try {
    const server = await findServer({ baseDir: folder })
    if (server) return { dsn: server.dsn, why: null }
    const found = `the embedded PostgreSQL of ${folder} does not run`
    return {
      dsn: null,
      why: { found, remedy: 'engram-scm-sync db up; any other command starts it too', isFailure: false },
    }
  } catch (error) {
    const hint = error instanceof SyncError ? error.hint : undefined
    const found = error instanceof Error ? error.message : String(error)
    return { dsn: null, why: { found, remedy: hint ?? 'engram-scm-sync db status', isFailure: true } }
  }
}

const MOST_MS = 9_000

function gitlabAccounts(config: Config, signal: AbortSignal): Account[] {
  const timeoutMs = Math.min(MOST_MS, config.scm.http.timeout_seconds * 1000)
  return accountsOf(config).map(({ instance, tenant, token }) => {
    const { host } = new URL(instance)
    return {
      name: tenant === null ? host : `${host} for tenant ${tenant}`,
      host,
      url: instance,
      hasToken: token !== null,
      introduce: () => introduce({ url: instance, token, timeoutMs, signal }),
    }
  })
}
