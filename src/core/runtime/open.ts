import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Context } from '../app/context.ts'
import { makePaces } from '../app/paces.ts'
import { longestTurnMs } from '../app/sync/request-budget.ts'
import { workerName } from '../app/worker-name.ts'
import { type Config, redactedView, secretsOf } from '../contracts/config.ts'
import type { Json } from '../domain/ledger.ts'
import { redactor } from '../domain/redact.ts'
import { ownTrigger } from '../domain/trigger.ts'
import { gitSource } from '../sources/git/git.ts'
import { type ConfigRequest, inspectConfig, type LoadedConfig, loadConfig } from './config.ts'
import { dataDir, onlookersPoolOf, poolOf, reachDatabase, requireSchema } from './database.ts'
import { gitlabOf } from './gitlab.ts'
import { openLog } from './log.ts'
import { svnOf } from './svn.ts'
import { readTrigger, type TriggerFlags } from './trigger.ts'

export interface Request {
  /** By TOML path; a flag beats the environment. */
  flags: Record<string, unknown>
  configFile: string | null
  /** Of a command that may be handed a trigger: what its flags say; the environment says the rest. */
  trigger?: TriggerFlags | undefined
  signal: AbortSignal
  progress: (line: string) => void
  /** Every transition, as a line of JSON. */
  overhear?: ((line: string) => void) | undefined
}

/** The only reader of the environment's configuration. */
export function readConfig(request: Pick<Request, 'flags' | 'configFile'>): LoadedConfig {
  return loadConfig(configRequest(request))
}

/** The same, with everything that is wrong as values. */
export function inspectedConfig(request: Pick<Request, 'flags' | 'configFile'>) {
  return inspectConfig(configRequest(request))
}

function configRequest(request: Pick<Request, 'flags' | 'configFile'>): ConfigRequest {
  const { HOME, XDG_CONFIG_HOME } = process.env
  return {
    env: process.env,
    flags: request.flags,
    file: request.configFile,
    cwd: process.cwd(),
    configHome: XDG_CONFIG_HOME || (HOME ? join(HOME, '.config') : null),
  }
}

/** By value, at every sink: whatever is secret in this configuration, the DSN's password, and tokens read again since. */
export function redactorOf(config: Config): (text: string) => string {
  const make = () => redactor([...secretsOf(config), ...passwordsIn(config.postgres.dsn), ...renewed])
  let redact = make()
  let known = renewed.size
  return (text) => {
    if (renewed.size > known) redact = make()
    known = renewed.size
    return redact(text)
  }
}

const renewed = new Set<string>()

export interface Opened {
  ctx: Context
  /** Gives the connections back; the embedded server stays up. */
  close: () => Promise<void>
  /** A context beside it, for reading while the work goes on. */
  openOnlooker: () => { ctx: Context; close: () => Promise<void> }
}

/** Builds the context, database first. */
export async function openContext(request: Request): Promise<Opened> {
  const { config, warnings } = readConfig(request)
  const worker = workerName()
  const redact = redactorOf(config)
  const trigger = request.trigger
    ? readTrigger(request.trigger, process.env, { newId: randomUUID, redact })
    : ownTrigger(randomUUID())
  const log = openLog({ level: config.log.level, redact, base: { worker }, overhear: request.overhear })
  for (const warning of warnings) log.warn(warning)

  const around = { say: request.progress, signal: request.signal }
  const reached = await reachDatabase(config, around)
  const db = poolOf(config, reached.dsn, (error) => log.warn({ err: error }, 'database connection lost'))
  const close = () => db.end()
  try {
    await requireSchema(db, reached, around)
  } catch (error) {
    await close()
    throw error
  }

  const git = gitSource({
    ...gitSurroundings(),
    deadlines: { fetch: config.scm.git.timeout_seconds * 1000 },
  })
  const reread = () => {
    const again = readConfig(request).config
    for (const secret of secretsOf(again)) renewed.add(secret)
    return again
  }
  const ctx: Context = {
    db,
    config,
    configSnapshot: snapshotOf(config),
    paces: makePaces(config),
    sources: {
      git,
      gitlab: gitlabOf(config, { git, maxWaitMs: longestTurnMs(config), reread }),
      svn: svnOf(config, gitSurroundings()),
    },
    log,
    now: () => new Date(),
    newId: randomUUID,
    trigger,
    signal: request.signal,
    worker,
    cacheDir: join(dataDir(config), 'mirrors'),
    progress: request.progress,
  }
  const openOnlooker = () => {
    const pool = onlookersPoolOf(reached.dsn)
    return { ctx: { ...ctx, db: pool }, close: () => pool.end() }
  }
  return { ctx, close, openOnlooker }
}

/** All that git may see of the environment; what of `network` it really gets, the git source decides. */
export function gitSurroundings() {
  const network = Object.fromEntries(
    Object.entries(process.env).filter((e): e is [string, string] => /_proxy$|^(GIT_)?SSL_/i.test(e[0])),
  )
  return {
    path: process.env.PATH ?? '/usr/bin:/bin',
    home: process.env.HOME ?? null,
    sshAuthSock: process.env.SSH_AUTH_SOCK ?? null,
    network,
  }
}

function snapshotOf(config: Config): Json {
  const { scm } = redactedView(config)
  return JSON.parse(
    JSON.stringify({
      git: scm.git,
      gitlab: scm.gitlab,
      svn: scm.svn,
      backfill: scm.backfill,
      bulk_thresholds: scm.bulk_thresholds,
    }),
  )
}

function passwordsIn(dsn: string | null | undefined): string[] {
  if (!dsn) return []
  try {
    const url = new URL(dsn)
    return [decodeURIComponent(url.password), url.password, url.searchParams.get('password') ?? ''].filter(
      Boolean,
    )
  } catch {
    return []
  }
}
