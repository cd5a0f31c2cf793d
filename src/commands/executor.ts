import { Flags } from '@oclif/core'
import { readConfig } from '../core/runtime/open.ts'
import { BaseCommand } from '../shell/base-command.ts'
import { serveExecutor } from '../shell/executor/serve-executor.ts'
import { whereItListens } from '../shell/executor/where-it-listens.ts'
import { executorText } from '../shell/text/executor.ts'

export default class Executor extends BaseCommand {
  static override summary = 'Run what XXL-Job triggers, as one of its executors'
  static override description = [
    'Registers with the XXL-Job admins, runs triggered handlers in this process and tells how each ended, until it is',
    'stopped. Handlers: incremental, backfill, verify, scheduler, reaper; their parameters are the flags of the command of',
    'that name (--repo several times, or --all), or the same as a JSON object. Speaks to XXL-Job 2.2 to 3.5.',
    '',
    'The access token comes from SCM_EXECUTOR_ACCESS_TOKEN or scm.executor.access_token_file.',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> <%= command.id %> --admin http://xxl-job.example.com:8080/xxl-job-admin',
    '<%= config.bin %> <%= command.id %> --admin http://localhost:8080/xxl-job-admin --app-name engram-scm --json',
  ]
  static override flags = {
    admin: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      summary: 'Address of an XXL-Job admin; several times for several',
      helpValue: 'URL',
    }),
    'app-name': Flags.string({ summary: 'AppName in the admin', helpValue: 'NAME' }),
    listen: Flags.string({ summary: 'Where the admin reaches it', helpValue: 'HOST:PORT' }),
    address: Flags.string({ summary: 'What is registered, if not what is listened on', helpValue: 'URL' }),
    protocol: Flags.option({
      options: ['auto', '3.4', '3.5'] as const,
      summary: 'Form of the callbacks; 3.4 is also that of 2.x',
    })(),
    parallelism: Flags.integer({ summary: 'Triggers at the same time', helpValue: 'N' }),
  }

  async run(): Promise<void> {
    const { flags } = await this.read(Executor)
    this.overrides = {
      'scm.executor.admin_addresses': flags.admin,
      'scm.executor.app_name': flags['app-name'],
      'scm.executor.listen': flags.listen,
      'scm.executor.address': flags.address,
      'scm.executor.protocol': flags.protocol,
      'scm.executor.parallelism': flags.parallelism,
    }
    whereItListens(readConfig(this.request).config.scm.executor) // a mistake there needs no database to be told
    let hear = (_line: string) => {}
    this.overhear = (line) => hear(line)
    return this.report(
      (ctx) =>
        serveExecutor(ctx, (ear) => {
          hear = ear
        }),
      executorText,
    )
  }
}
