import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { environment, linesOf, type Options, type Ran, ROOT, tempFolder } from './cli.ts'

/**
 * The built program, with one command line after the other in a single process: to start is most of what a command
 * costs, 0.2 s of CPU against 5 to 30 ms. As with a process of its own, what a command leaves open is found (the process
 * would not end), and a crash is its end. What is left to `run` is what belongs to the process: signals, a deadline (it
 * counts from the start), its account, its memory, and what a module remembers (a renewed token stays a secret).
 */
export async function runHere(
  args: readonly string[],
  o: Pick<Options, 'bin' | 'env' | 'cwd'> = {},
): Promise<Ran> {
  const turn = last.then(() => perform(args, o))
  last = turn.catch(() => {})
  return turn
}

/** Many of them. */
export async function runAll(all: readonly string[][], o: Pick<Options, 'env'> = {}): Promise<Ran[]> {
  return Promise.all(all.map((args) => runHere(args, o)))
}

let last: Promise<unknown> = Promise.resolve()
let program: Program | null = null
afterAll(() => program?.child.disconnect())

interface Program {
  child: ChildProcess
  said: { out: string; err: string }
  /** Looks whether the turn is over. */
  look: () => void
}

const HERE = tempFolder()
const PATIENCE_MS = 50_000
const MARK = '=== next ===\n'

function open(): Program {
  const child = spawn(process.execPath, ['--input-type=module', '-e', LOOP], {
    env: environment({ MAIN: join(ROOT, 'dist/shell/main.js'), OUTCOME: outcomeFile() }),
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  const opened: Program = { child, said: { out: '', err: '' }, look: () => {} }
  for (const [name, stream] of [
    ['out', child.stdout],
    ['err', child.stderr],
  ] as const)
    stream?.setEncoding('utf8').on('data', (text: string) => {
      opened.said[name] += text
      opened.look()
    })
  return opened
}

/** Where the build has put what a command came to. */
function outcomeFile(): string {
  const dist = join(ROOT, 'dist')
  const chunks = readdirSync(dist).filter((name) => name.endsWith('.js'))
  const holds = (name: string) => readFileSync(join(dist, name), 'utf8').includes('// src/shell/outcome.ts\n')
  return join(dist, chunks.find(holds) as string)
}

interface Answer {
  code: number
  /** What keeps the process alive though the command is over. */
  left: string[]
}

async function perform(args: readonly string[], o: Pick<Options, 'bin' | 'env' | 'cwd'>): Promise<Ran> {
  program ??= open()
  const { child, said } = program
  const ran = (code: number | null, signal: NodeJS.Signals | null): Ran => {
    const [out, err] = [said.out, said.err].map((text) => text.replace(MARK, '')) as [string, string]
    said.out = ''
    said.err = ''
    const json = () => linesOf(out).map((line) => JSON.parse(line) as Record<string, unknown>)
    return { code, signal, out, err, json }
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
  try {
    return await new Promise<Ran>((resolve, reject) => {
      let answer: Answer | null = null
      const look = () => {
        if (answer === null || !said.out.endsWith(MARK) || !said.err.endsWith(MARK)) return
        child.removeAllListeners()
        if (answer.left.length === 0) resolve(ran(answer.code, null))
        else reject(new Error(`${args.join(' ')} leaves open: ${answer.left.join(', ')}\n${said.err}`))
      }
      ;(program as Program).look = look
      child.on('message', (message) => {
        answer = message as Answer
        look()
      })
      child.on('close', (code, signal) => {
        program = null
        resolve(ran(code, signal))
      })
      child.send({ args, bin: o.bin ?? 'sync', env: environment(o.env), cwd: o.cwd ?? HERE })
    })
  } finally {
    clearTimeout(timer)
  }
}

/** main() is made to be called once: its listeners are taken off again, and its outcome is forgotten. */
const LOOP = `
import { setTimeout as pause } from 'node:timers/promises'
const { main } = await import(process.env.MAIN)
const { outcome } = await import(process.env.OUTCOME)
const events = ['SIGINT', 'SIGTERM', 'SIGHUP', 'uncaughtException', 'unhandledRejection']
const streams = [process.stdout, process.stderr]
const awake = () => process.getActiveResourcesInfo()
function beyond(before) {
  const rest = [...before]
  return awake().filter((one) => !rest.includes(one) || (rest.splice(rest.indexOf(one), 1), false))
}
process.on('message', async ({ args, bin, env, cwd }) => {
  for (const name of Object.keys(process.env)) delete process.env[name]
  Object.assign(process.env, env)
  Object.assign(outcome, { code: undefined, told: false })
  process.chdir(cwd)
  process.argv = [process.argv0, 'engram-scm-' + bin, ...args]
  const before = awake()
  await main(bin === 'sync' ? undefined : bin)
  let left = []
  for (let tries = 0; tries < 1000 && (left = beyond(before)).length > 0; tries++) await pause(2)
  const code = process.exitCode
  for (const event of events) process.removeAllListeners(event)
  for (const stream of streams) stream.removeAllListeners('error').write(${JSON.stringify(MARK)})
  process.send({ code, left })
})
process.on('disconnect', () => process.exit(0))
`
