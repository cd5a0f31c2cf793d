import { hostname } from 'node:os'
import { join } from 'node:path'
import { type Context, underTrigger } from '../../core/app/context.ts'
import type { ExecutorReport } from '../../core/contracts/executor.ts'
import { cleanText } from '../../core/domain/clean.ts'
import { SyncError } from '../../core/domain/errors.ts'
import { maskUserinfo } from '../../core/domain/repo.ts'
import { dataDir } from '../../core/runtime/database.ts'
import { saidOf } from '../failure.ts'
import { sayable, sayableLines } from '../output.ts'
import { logLineText } from '../text/executor.ts'
import { makeAdmins } from './admins.ts'
import { Callbacks } from './callbacks.ts'
import { openDoor } from './door.ts'
import { type Work, workFor } from './handlers.ts'
import { type Journal, openJournal } from './journal.ts'
import { keepRegistered } from './registration.ts'
import { TriggerLogs } from './trigger-logs.ts'
import { Triggers } from './triggers.ts'
import { whereItListens } from './where-it-listens.ts'
import { type Answer, answer, type Dialect, FAILED, type TriggerBody } from './wire.ts'

const DAY_MS = 86_400_000

/**
 * Serves XXL-Job until it is stopped: registers, runs what is triggered in this process, and tells each end. All that
 * it owes an admin is on the disk, in a folder that belongs to whoever listens on this port.
 */
export async function serveExecutor(
  ctx: Context,
  /** Is given what the log says from now on. */
  listenTo: (hear: (line: string) => void) => void,
): Promise<ExecutorReport> {
  const startedAt = ctx.now()
  const { executor: config } = ctx.config.scm
  const at = whereItListens(config)
  const { access_token: token, app_name: appName } = config
  const admins = makeAdmins({ addresses: config.admin_addresses, token, appName })
  const folder = join(dataDir(ctx.config), 'executor', `${appName}-${hostname()}-${at.port}`)
  const logs = new TriggerLogs(join(folder, 'log'))
  const logOf = new Map<string, TriggerBody>()
  listenTo((line) => {
    const body = logOf.get(JSON.parse(line).correlationId)
    if (body) logs.say(body, ctx.now(), logLineText(line))
  })

  const guard = { token, appName, protocol: config.protocol }
  const door = await openDoor(at, guard, {
    trigger: (body, dialect) => taken(body, dialect),
    kill: (jobId) => triggers.kill(jobId),
    isBusy: (jobId) => triggers.isBusy(jobId),
    log: (ask) => logs.read(ask),
  })
  // Only now: the folder of whoever listens here already is not ours to read.
  const journal = journalIn(join(folder, 'owed'), door.close)
  const { log, now } = ctx
  const callbacks = new Callbacks({ admins, journal, log, now, keptDays: config.log_retention_days })
  const triggers = new Triggers({ parallelism: config.parallelism, journal, callbacks, logs, log, now })
  const lost = callbacks.inherit(journal.left)
  if (journal.strange.length > 0)
    log.warn({ folder: join(folder, 'owed'), files: journal.strange }, 'not what was owed: left as it is')
  const prune = () => {
    try {
      logs.prune(now(), config.log_retention_days)
    } catch (error) {
      log.error({ err: error }, 'old logs of triggers could not be removed')
    }
  }
  prune()
  const pruning = setInterval(prune, DAY_MS)
  const address = config.address ?? door.address
  log.info({ address: door.address, lost }, 'listening')
  const registration = keepRegistered({ admins, appName, address, log })

  await stopped(ctx.signal)
  await Promise.all([registration.stop(), triggers.stop()])
  door.close()
  clearInterval(pruning)
  await callbacks.close()
  return {
    status: 'success',
    address,
    triggers: triggers.counts,
    lost,
    undelivered: callbacks.undelivered,
    started_at: startedAt.toISOString(),
    finished_at: now().toISOString(),
    exit_code: 0,
  }

  async function taken(body: TriggerBody, dialect: Dialect): Promise<Answer> {
    let work: Work
    try {
      work = await workFor(body.handler, body.params)
    } catch (error) {
      return answer(FAILED, sayableLines(saidOf(error)))
    }
    return triggers.accept(body, dialect, async (signal) => {
      const own = contextFor(ctx, body, signal, (line) => logs.say(body, now(), line))
      logOf.set(own.trigger.correlationId, body)
      const result = await work(own)
      logOf.delete(own.trigger.correlationId)
      return result
    })
  }
}

/** A worker of its own: two triggers of one process are not each other's owners. */
function contextFor(
  ctx: Context,
  body: TriggerBody,
  signal: AbortSignal,
  progress: (line: string) => void,
): Context {
  const { jobId, logId, handler, params, shard } = body
  const own = { ...ctx, signal, worker: `${logId}.${ctx.worker}`, progress }
  return underTrigger(own, {
    schedulerCode: 'XXL',
    jobId: String(jobId),
    logId: String(logId),
    // The admin tells nobody whether it was its clock, a person or a retry.
    triggerType: 'SCHEDULE',
    triggeredAt: new Date(body.logDateTime),
    params: { handler: storable(handler), params: storable(params) },
    correlationId: ctx.newId(),
    shard: shard.total > 1 ? shard : null,
  })
}

/** As PostgreSQL holds it, and without what is secret. */
const storable = (text: string) => cleanText(sayable(maskUserinfo(text)))

function journalIn(folder: string, giveUp: () => void): Journal {
  try {
    return openJournal(folder)
  } catch (cause) {
    giveUp()
    throw new SyncError('config', `what is owed to the admins cannot be kept: ${(cause as Error).message}`, {
      hint: 'set storage.data_dir to a folder that this user may write',
      cause,
    })
  }
}

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
