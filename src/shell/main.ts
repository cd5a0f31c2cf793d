import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { Config, run } from '@oclif/core'
import { SyncError } from '../core/domain/errors.ts'
import { nearest } from '../core/runtime/nearest.ts'
import { reportFailure } from './failure.ts'
import { outcome } from './outcome.ts'
import { print } from './output.ts'
import { listenForStop, stop } from './stop.ts'

// Without it the heap may grow to 256 MB before its first full collection: 181 → 109 MB of process for a first sync of
// 146,000 commits, at about a fifth more CPU in a client that mostly waits for the database.
setFlagsFromString('--optimize-for-size')
// The HTTP parser of fetch is WebAssembly: to optimise it takes 30 MB at the first request, 110 → 80 MB of process.
setFlagsFromString('--liftoff-only')

/** Runs one command line. `only` is the command a short binary stands for; without it, the whole suite. */
export async function main(only?: string): Promise<void> {
  process.exitCode = 2 // whatever never finishes has failed
  const argv = process.argv.slice(2)
  const json = argv.slice(0, argv.includes('--') ? argv.indexOf('--') : undefined).includes('--json')
  guard(json)
  listenForStop()
  try {
    await dispatch(argv, only)
    process.exitCode = outcome.code ?? 0
  } catch (error) {
    // oclif ends --help and --version by throwing.
    if ((error as { code?: string }).code === 'EEXIT') process.exitCode = 0
    else {
      reportFailure(error, { json })
      outcome.told = true
    }
  }
}

async function dispatch(argv: string[], only: string | undefined): Promise<void> {
  const root = packageRoot()
  const pjson = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'))
  if (only === undefined) {
    const config = await Config.load({
      root: fileURLToPath(root),
      pjson,
      devPlugins: false,
      userPlugins: false,
    })
    const asked = argv[0] === 'help' ? [...argv.slice(1), '--help'] : argv
    refuseNoCommand(asked, config)
    await run(asked, config)
    return
  }
  // The short binaries show their own name in help. Their root must hold no manifest, or `single` is ignored.
  const commands = { strategy: 'single', target: `../dist/commands/${only}.js` }
  const helpClass = '../dist/shell/help.js'
  pjson.oclif = { ...pjson.oclif, bin: `engram-scm-${only}`, topics: {}, commands, helpClass }
  const config = await Config.load({
    root: fileURLToPath(new URL('bin', root)),
    pjson,
    devPlugins: false,
    userPlugins: false,
  })
  if (isVersion(argv[0])) print(config.userAgent)
  else await run(argv, config)
}

/**
 * What oclif answers badly: an unknown command and an argument too many (2, an odd sentence, an empty stdout under
 * --json), and no command at all (help and 0: a slip in a crontab would pass for success, so that is for terminals only).
 */
function refuseNoCommand(argv: string[], config: Config): void {
  const words = argv.slice(0, argv.findIndex((a) => a.startsWith('-')) >>> 0)
  const typed = words.join(' ')
  for (let n = words.length; n > 0; n--) {
    const command = config.findCommand(words.slice(0, n).join(':'))
    if (!command) continue
    const extra = words[n + Object.keys(command.args).length]
    const hint = `see ${config.bin} ${command.id.replaceAll(':', ' ')} --help`
    if (extra !== undefined && command.strict !== false)
      throw new SyncError('usage', `${extra} is one argument too many`, { hint })
    return
  }

  const isTopic = words.length === 0 || config.findTopic(words.join(':')) !== undefined
  if (!isTopic) throw unknownCommand(typed, config)
  const wantsHelp = argv.some(isHelp) || isVersion(argv[0])
  if (wantsHelp || (process.stdout.isTTY && argv.length === words.length)) return
  throw new SyncError('usage', typed === '' ? 'no command is given' : `${typed} alone is not a command`, {
    hint: `see ${[config.bin, ...words].join(' ')} --help`,
  })
}

function unknownCommand(typed: string, config: Config): SyncError {
  const ids = [...config.commandIDs, ...config.topics.map((t) => t.name)].map((id) => id.replaceAll(':', ' '))
  const near = nearest(typed.replaceAll(':', ' '), ids)
  return new SyncError('usage', `${typed} is not a command`, {
    hint: near === null ? `see ${config.bin} --help` : `did you mean: ${config.bin} ${near}`,
  })
}

const isHelp = (word: string) => word === '--help' || word === '-h'
const isVersion = (word: string | undefined) => word === '--version' || word === '-V'

function guard(json: boolean): void {
  const crash = (error: unknown) => {
    reportFailure(error, { json: json && !outcome.told })
    process.exit(2)
  }
  process.once('uncaughtException', crash)
  process.once('unhandledRejection', crash)
  process.stdout.on('error', (error: NodeJS.ErrnoException) =>
    error.code === 'EPIPE' ? stop('nobody reads the output') : crash(error),
  )
  process.stderr.on('error', () => {})
}

function packageRoot(): URL {
  let folder = new URL('.', import.meta.url)
  while (!existsSync(new URL('package.json', folder))) folder = new URL('..', folder)
  return folder
}
