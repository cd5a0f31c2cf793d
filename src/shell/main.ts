import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Config, run } from '@oclif/core'
import { distance } from 'fastest-levenshtein'
import { SyncError } from '../core/domain/errors.ts'
import { reportFailure } from './failure.ts'
import { outcome } from './outcome.ts'
import { print } from './output.ts'
import { listenForStop, stop } from './stop.ts'

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
    else reportFailure(error, { json })
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
    refuseUnknown(argv, config)
    await run(argv, config)
    return
  }
  if (argv[0] === '--version' || argv[0] === '-V') {
    print(`${pjson.name}/${pjson.version}`)
    return
  }
  // The short binaries show their own name in help. Their root must hold no manifest, or `single` is ignored.
  const commands = { strategy: 'single', target: `../dist/commands/${only}.js` }
  pjson.oclif = { ...pjson.oclif, bin: `engram-scm-${only}`, topics: {}, commands }
  const config = await Config.load({
    root: fileURLToPath(new URL('bin', root)),
    pjson,
    devPlugins: false,
    userPlugins: false,
  })
  await run(argv, config)
}

/** An unknown command, with the nearest one; oclif would answer it with 2 and an empty stdout under --json. */
function refuseUnknown(argv: string[], config: Config): void {
  const words = argv.slice(0, argv.findIndex((a) => a.startsWith('-')) >>> 0).filter((a) => a !== '')
  if (words.length === 0 || words[0] === 'help') return
  const ids = [...config.commandIDs, ...config.topics.map((t) => t.name)].map((id) => id.replaceAll(':', ' '))
  const typed = words.join(' ').replaceAll(':', ' ')
  if (ids.some((id) => typed === id || typed.startsWith(`${id} `))) {
    const topic =
      config.topics.some((t) => t.name.replaceAll(':', ' ') === words[0]) &&
      !config.findCommand(words.join(':'))
    const deeper = ids.some(
      (id) => id.startsWith(`${words[0]} `) && (typed === id || typed.startsWith(`${id} `)),
    )
    if (!topic || words.length === 1 || deeper) return
  }
  const near = ids.map((id) => ({ id, d: distance(id, typed) })).sort((a, b) => a.d - b.d)[0]
  throw new SyncError('usage', `${typed} is not a command`, {
    hint:
      near && near.d <= Math.max(2, typed.length / 3)
        ? `did you mean: ${config.bin} ${near.id}`
        : `see ${config.bin} --help`,
  })
}

function guard(json: boolean): void {
  const crash = (error: unknown) => {
    reportFailure(error, { json })
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
