import { Command, Flags, type Interfaces } from '@oclif/core'
import { type Context, underTrigger } from '../core/app/context.ts'
import type { Config } from '../core/contracts/config.ts'
import { SyncError } from '../core/domain/errors.ts'
import { ownTrigger } from '../core/domain/trigger.ts'
import { openContext, readConfig, redactorOf } from '../core/runtime/open.ts'
import type { TriggerFlags } from '../core/runtime/trigger.ts'
import { type Listening, startListening } from './listen.ts'
import { outcome } from './outcome.ts'
import { complain, print, printJson, redactWith } from './output.ts'
import { progressLine } from './progress.ts'
import { inRounds, type Rounds } from './rounds.ts'
import { stopSignal, stopWithin } from './stop.ts'

interface Report {
  exit_code: 0 | 1 | 2
}

interface Parsed<C extends typeof Command> {
  flags: Interfaces.InferredFlags<typeof BaseCommand.baseFlags & C['flags']>
  args: Interfaces.InferredArgs<C['args']>
  argv: unknown[]
}

/** Every command: read the flags, open what it needs, do one thing, print one report, close. */
export abstract class BaseCommand extends Command {
  static override baseFlags = {
    json: Flags.boolean({ summary: 'Print the report as one line of JSON', helpGroup: 'GLOBAL' }),
    quiet: Flags.boolean({
      char: 'q',
      summary: 'Print nothing on success; with --json still the one line',
      helpGroup: 'GLOBAL',
    }),
    verbose: Flags.boolean({
      char: 'v',
      summary: 'Log decisions too, not only transitions',
      helpGroup: 'GLOBAL',
    }),
    config: Flags.string({
      char: 'c',
      summary: 'Configuration file (TOML)',
      helpValue: 'FILE',
      helpGroup: 'GLOBAL',
    }),
    dsn: Flags.string({
      summary: 'Database; without one the embedded PostgreSQL is used',
      helpValue: 'URL',
      helpGroup: 'GLOBAL',
    }),
  }

  /** Set by a loop that answers questions while it works. */
  protected listening: Listening | undefined
  /** Awaited before the connections are closed: a statement that waits for one would wait for ever. */
  protected lastly: () => Promise<void> | undefined = () => undefined

  /** Set by whoever shows the log to others than stderr. */
  protected overhear: ((line: string) => void) | undefined

  /** Of a command that an external scheduler may call: what its flags hand over. */
  protected handed: TriggerFlags | undefined

  protected deadlineSeconds: number | undefined

  private asked: Partial<Interfaces.InferredFlags<typeof BaseCommand.baseFlags>> = {}

  /** Parsed flags and args of the concrete command. */
  protected async read<C extends typeof Command>(command: C): Promise<Parsed<C>> {
    const parsed = (await this.parse(command)) as unknown as Parsed<C>
    this.asked = parsed.flags
    // Mostly a variable of a script that is not set: `--dsn ""` must not go on with another database.
    for (const [name, value] of Object.entries(parsed.flags))
      if (value === '')
        throw new SyncError('usage', `--${name} is empty`, { hint: 'leave it out, or say what' })
    return parsed
  }

  /** What the command's own flags say of configuration keys, by TOML path; undefined says nothing. */
  protected overrides: Record<string, unknown> = {}

  protected get request() {
    const { verbose, quiet, config, dsn } = this.asked
    const flags = { ...this.overrides }
    if (dsn !== undefined) flags['postgres.dsn'] = dsn
    if (verbose) flags['log.level'] = 'debug'
    else if (quiet) flags['log.level'] = 'error' // cron mails every line, also one of stderr
    return { flags, configFile: config ?? null }
  }

  /** Opens the context, does the work (once, or in rounds), prints each report, closes. */
  protected async report<R extends Report>(
    work: (ctx: Context) => Promise<R>,
    text: (report: R) => string,
    roundsOf?: (config: Config) => Rounds,
  ): Promise<void> {
    const { request } = this
    const { config, origins } = readConfig(request)
    redactWith(redactorOf(config))
    // A person at a terminal reads the report and the progress line; transitions are for those who collect them.
    if (process.stderr.isTTY && origins['log.level']?.source === 'default')
      request.flags['log.level'] = 'error'
    const progress = progressLine({ enabled: !this.asked.json && !this.asked.quiet })
    const signal = this.deadlineSeconds === undefined ? stopSignal : stopWithin(this.deadlineSeconds)
    const opened = await openContext({
      ...request,
      trigger: this.handed,
      signal,
      progress: progress.say,
      overhear: this.overhear,
    })
    const { ctx, close } = opened
    let stopListening = async () => {}
    try {
      if (this.listening) stopListening = await startListening(opened, this.listening)
      const show = (report: R) => {
        progress.clear()
        this.print(report, text)
      }
      const rounds = roundsOf?.(ctx.config)
      outcome.code = rounds
        ? await inRounds(rounds, () => work(underTrigger(ctx, ownTrigger(ctx.newId()))), show, stopSignal)
        : await once(() => work(underTrigger(ctx, ctx.trigger)), show)
    } finally {
      progress.clear()
      await stopListening()
      await this.lastly()
      await close()
    }
  }

  /** For what needs no database, or manages it: the configuration is enough. */
  protected async reportWithout<R extends Report>(
    work: (config: Config, o: { say: (what: string) => void; signal: AbortSignal }) => Promise<R>,
    text: (report: R) => string,
  ): Promise<void> {
    const { config } = readConfig(this.request)
    redactWith(redactorOf(config))
    const progress = progressLine({ enabled: !this.asked.json && !this.asked.quiet })
    const report = await work(config, { say: progress.say, signal: stopSignal })
    progress.clear()
    this.print(report, text)
  }

  protected print<R extends Report>(report: R, text: (report: R) => string): void {
    if (this.asked.json) printJson(report)
    else if (!this.asked.quiet || report.exit_code !== 0) this.tell(text(report), report.exit_code)
    outcome.code = report.exit_code
    outcome.told = true
  }

  /** What failed is told where failures are looked for; a pipe behind stdout gets reports of work that was done. */
  protected tell(text: string, exitCode: 0 | 1 | 2): void {
    if (exitCode === 2) complain(text)
    else print(text)
  }
}

async function once<R extends Report>(work: () => Promise<R>, show: (report: R) => void) {
  const report = await work()
  show(report)
  return report.exit_code
}
