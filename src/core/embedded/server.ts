import { SyncError } from '../domain/errors.ts'
import { makeCluster } from './cluster.ts'
import { greet, makeDatabase } from './database.ts'
import { errno, lastFatal, serverFailure } from './failure.ts'
import { makeBase, makeSocketDir } from './folder.ts'
import { type Launch, launch, readLog } from './launch.ts'
import { type Binaries, findBinaries } from './native.ts'
import { chooseOwner, type Owner } from './owner.ts'
import { type Pause, patience } from './patience.ts'
import { type Place, placeOf } from './place.ts'
import { clearStaleLocks, lookForPostmaster, type Ready } from './postmaster.ts'
import { isPostgresOf, orphansOf } from './process.ts'

export interface EmbeddedServer {
  dsn: string
  pid: number
  dataDir: string
  socketDir: string
  logFile: string
  version: string
  /** True when this call started it. */
  started: boolean
}

export interface EnsureServer {
  baseDir: string
  say?: (what: string) => void
  signal?: AbortSignal
}

const START_SECONDS = 60
const STOP_SECONDS = 60
const POLL_MS = 10 // a warm start takes 29 to 37 ms
const RETRY_MS = 100
const ORPHAN_GRACE_MS = 2_000

/**
 * The user's own server, started if need be; any number of processes may call this at once. PostgreSQL's postmaster.pid
 * is the interlock: whoever looks and finds nobody tries, one gets it, the others find it there.
 *
 *   look → ready  → database engram exists → done
 *        → busy   → look again
 *        → gone   → make what is missing, clear what is stale, launch → look again
 */
export async function ensureServer(o: EnsureServer): Promise<EmbeddedServer> {
  const place = await placeOf(o.baseDir)
  let pause = patienceFor(place, o.signal)
  let ground: Ground | null = null
  let attempt: Launch | null = null
  let inTheWay: number | null = null

  for (; ; await pause(POLL_MS)) {
    const seen = await lookForPostmaster(place)
    if (seen.state === 'ready') {
      const version = await makeDatabase(place, seen)
      if (version !== null) return describe(place, seen, version, seen.pid === attempt?.pid)
    }
    if (seen.state !== 'gone' || attempt?.running()) continue

    if (attempt !== null && ground !== null) {
      const output = await attempt.output()
      if (!attempt.stopped() && !isInterlock(output)) {
        throw await serverFailure(place, ground.owner, 'start', output)
      }
      inTheWay = /pre-existing shared memory/.test(output) ? (inTheWay ?? performance.now()) : null
      if (inTheWay !== null && performance.now() - inTheWay > ORPHAN_GRACE_MS) await dismissOrphans(place)
      attempt = null
      await pause(RETRY_MS)
      continue
    }
    if (ground === null) {
      await pause(0) // a caller who has given up starts nothing
      ground = await prepare(place, o)
      pause = patienceFor(place, o.signal)
      o.say?.(`starting PostgreSQL in ${place.base}`)
    }
    await clearStaleLocks(place, ground.socketDir)
    attempt = await launch(place, ground.owner, ground.postgres, ground.socketDir)
  }
}

/** The server if it runs and takes connections; starts nothing, waits for nothing. */
export async function findServer(o: { baseDir: string }): Promise<EmbeddedServer | null> {
  const place = await placeOf(o.baseDir)
  const seen = await lookForPostmaster(place)
  const version = seen.state === 'ready' ? await greet(place, seen) : null
  return seen.state === 'ready' && version !== null ? describe(place, seen, version, false) : null
}

/** Ends the server at once: open transactions are rolled back. False when none ran. */
export async function stopServer(o: { baseDir: string }): Promise<boolean> {
  const place = await placeOf(o.baseDir)
  const pause = patience(STOP_SECONDS, undefined, async () => {
    return new SyncError(
      'database',
      `the PostgreSQL server in ${place.base} did not stop within ${STOP_SECONDS} s`,
      {
        hint: `read ${place.log}`,
      },
    )
  })
  let told: number | null = null
  for (let ran = false; ; ran = true, await pause(POLL_MS)) {
    const seen = await lookForPostmaster(place)
    // The file goes a moment before the process does, and a start in between would find the shared memory taken.
    if (told !== null && (await isPostgresOf(place.data, told))) continue
    if (seen.state === 'gone' || told !== null) return ran
    if (seen.pid === null) continue
    if (seen.state === 'ready' && !seen.visible) {
      throw new SyncError('config', `the PostgreSQL server in ${place.base} runs in another container`, {
        hint: 'stop it from there',
      })
    }
    interrupt(place, seen.pid)
    told = seen.pid
  }
}

interface Ground extends Pick<Binaries, 'postgres'> {
  owner: Owner
  socketDir: string
}

/** Everything a start needs, made where it is missing. */
async function prepare(place: Place, o: EnsureServer): Promise<Ground> {
  const say = o.say ?? (() => {})
  const owner = await chooseOwner(place)
  await makeBase(place, owner)
  const { initdb, postgres } = await findBinaries(place, owner, say)
  await makeCluster(place, owner, initdb, { say, signal: o.signal })
  return { owner, postgres, socketDir: await makeSocketDir(place, owner) }
}

/** Ends of an attempt that say "somebody else is, or was, here": look again instead of giving up. */
function isInterlock(output: string): boolean {
  return /lock file ".*" (already exists|is empty)|pre-existing shared memory block/.test(output)
}

/** SIGQUIT ends a session without its cleanup, as its postmaster would have done; recovery at the start makes it whole. */
async function dismissOrphans(place: Place): Promise<void> {
  for (const pid of await orphansOf(place.data)) {
    try {
      process.kill(pid, 'SIGQUIT')
    } catch {
      // Gone meanwhile, or not ours to end: the start says so if it matters.
    }
  }
}

function interrupt(place: Place, pid: number): void {
  try {
    process.kill(pid, 'SIGINT')
  } catch (cause) {
    if (errno(cause) === 'ESRCH') return
    throw new SyncError('config', `the PostgreSQL server in ${place.base} belongs to another user`, {
      hint: 'stop it as the user who started it',
      cause,
    })
  }
}

/** A server that is late is left alone: it may be replaying a long log, and the next call finds it. */
function patienceFor(place: Place, signal: AbortSignal | undefined): Pause {
  return patience(START_SECONDS, signal, async () => {
    const reason = lastFatal(await readLog(place, 0))
    return new SyncError(
      'database',
      `PostgreSQL in ${place.base} was not ready within ${START_SECONDS} s${reason === null ? '' : `: ${reason}`}`,
      { hint: `read ${place.log}` },
    )
  })
}

function describe(place: Place, server: Ready, version: string, started: boolean): EmbeddedServer {
  // Both pg and psql decode %xx in host=; slashes stay readable.
  const host = encodeURIComponent(server.socketDir).replaceAll('%2F', '/')
  return {
    dsn: `postgresql:///engram?host=${host}&port=${server.port}&user=engram`,
    pid: server.pid,
    dataDir: place.data,
    socketDir: server.socketDir,
    logFile: place.log,
    version,
    started,
  }
}
