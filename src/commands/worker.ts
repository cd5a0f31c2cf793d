import { Flags } from '@oclif/core'
import { work } from '../core/app/queue/work.ts'
import { SyncError } from '../core/domain/errors.ts'
import { JOB_TYPES, type JobType } from '../core/domain/repo.ts'
import { BaseCommand } from '../shell/base-command.ts'
import { addressIn, listenFlag } from '../shell/listen.ts'
import { workerText } from '../shell/text/queue.ts'

/** Flag → the configuration key it beats. */
const KEYS = {
  parallelism: 'scm.worker.parallelism',
  'poll-interval': 'scm.worker.poll_interval',
  'lease-seconds': 'scm.worker.lease_seconds',
  'renew-interval': 'scm.worker.renew_interval_seconds',
  'max-renew-failures': 'scm.worker.max_renew_failures',
  'instance-allowlist': 'scm.worker.instance_allowlist',
  'tenant-allowlist': 'scm.worker.tenant_allowlist',
} as const

export default class Worker extends BaseCommand {
  static override summary = 'Work off the jobs that are due'
  static override description =
    'Goes on until it is stopped. A stop (SIGTERM, Ctrl-C) gives back what is in hand without penalty; a second one exits at once.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --parallelism 4 --job-types commits',
    '<%= config.bin %> <%= command.id %> --drain --json',
  ]
  static override flags = {
    'worker-id': Flags.string({ summary: 'Name in locks and runs; made up when not given', helpValue: 'ID' }),
    once: Flags.boolean({ summary: 'At most one job', exclusive: ['drain'] }),
    drain: Flags.boolean({ summary: 'Until nothing is due' }),
    parallelism: Flags.integer({ summary: 'Jobs at the same time', helpValue: 'N' }),
    'job-types': Flags.string({ summary: 'Only these', helpValue: 'A,B' }),
    pool: Flags.string({ summary: 'Serve what [scm.worker.pools.NAME] says', helpValue: 'NAME' }),
    'instance-allowlist': Flags.string({ summary: 'Only these upstream hosts', helpValue: 'A,B' }),
    'tenant-allowlist': Flags.string({ summary: 'Only these tenants', helpValue: 'A,B' }),
    'poll-interval': Flags.string({ summary: 'Longest sleep while idle', helpValue: 'SECONDS' }),
    'lease-seconds': Flags.integer({
      summary: 'How long a job stays with a silent worker',
      helpValue: 'SECONDS',
    }),
    'renew-interval': Flags.integer({ summary: 'Pause between renewals', helpValue: 'SECONDS' }),
    'max-renew-failures': Flags.integer({
      summary: 'Failed renewals after which a job is given up',
      helpValue: 'N',
    }),
    listen: listenFlag({ exclusive: ['once', 'drain'] }),
  }

  async run(): Promise<void> {
    const { flags } = await this.read(Worker)
    for (const [flag, key] of Object.entries(KEYS)) {
      const value = flags[flag as keyof typeof KEYS]
      if (value !== undefined) this.overrides[key] = value
    }
    // Idle it polls; with every slot busy it renews.
    if (flags.listen)
      this.listening = {
        at: addressIn(flags.listen),
        restSeconds: ({ scm }) => Math.max(scm.worker.poll_interval, scm.worker.renew_interval_seconds),
      }
    const ask = {
      once: flags.once ?? false,
      drain: flags.drain ?? false,
      jobTypes: jobTypesIn(flags['job-types']),
      pool: flags.pool ?? null,
      parallelism: flags.parallelism,
    }
    const name = flags['worker-id']
    return this.report((ctx) => work(name ? { ...ctx, worker: name } : ctx, ask), workerText)
  }
}

function listed(csv: string): string[] {
  return csv
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean)
}

function jobTypesIn(csv: string | undefined): JobType[] {
  return listed(csv ?? '').map((word) => {
    const known = JOB_TYPES.find((type) => type === word)
    if (known) return known
    throw new SyncError('usage', `--job-types ${JSON.stringify(word)} is not a job type`, {
      hint: `there are: ${JOB_TYPES.join(', ')}`,
    })
  })
}
