import { execFileSync, spawn } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll } from 'vitest'
import type { Revision } from '../../src/core/domain/facts.ts'
import type { Access, Ask, Page, Resume, Source } from '../../src/core/sources/source.ts'
import { svnSource } from '../../src/core/sources/svn/svn.ts'

export const hasSvn = ['svn', 'svnadmin', 'svnserve', 'svnlook'].every(runs)
if (!hasSvn) process.stderr.write('SVN tests skipped: install subversion (apt install subversion)\n')

export const CORPUS = new URL('../../../shared/corpus/', import.meta.url).pathname

/** What is in a folder of the corpus; nothing where there is no corpus. */
export function corpusFiles(folder: string): string[] {
  try {
    return readdirSync(join(CORPUS, folder)).sort()
  } catch {
    process.stderr.write(`corpus absent: ${folder} not tested\n`)
    return []
  }
}

function runs(program: string): boolean {
  try {
    execFileSync(program, ['--version', '-q'], { stdio: 'pipe' })
    return true
  } catch {
    return false
  }
}

/** Folders and servers that are gone after the test file. */
const folders: string[] = []
const servers: (() => void | Promise<void>)[] = []
afterAll(async () => {
  for (const stop of servers) await stop()
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** Stops a server of the test file. */
export function onEnd(stop: () => void | Promise<void>): void {
  servers.push(stop)
}

export function svnFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'svn-room-')))
  folders.push(folder)
  return folder
}

const ENV = { PATH: process.env.PATH ?? '', LC_ALL: 'C.UTF-8' }

/** A program of Subversion's, as anybody would call it; answers its stdout. */
export function tool(program: string, args: string[], input: string | Buffer = ''): Buffer {
  return execFileSync(program, args, { env: ENV, input, maxBuffer: 1 << 28, stdio: ['pipe', 'pipe', 'pipe'] })
}

export interface SvnServer {
  /** svn://127.0.0.1:port, or http:// */
  url: string
  /** Where its repositories are. */
  dir: string
}

/** A real svnserve on loopback over a folder, an empty one if none is given. */
export async function startServer(dir = svnFolder()): Promise<SvnServer> {
  const port = await freePort()
  const args = ['-d', '--foreground', '--listen-host', '127.0.0.1', '--listen-port', String(port), '-r', dir]
  const child = spawn('svnserve', args, { env: ENV, stdio: 'ignore' })
  onEnd(() => void child.kill('SIGKILL'))
  await untilOpen(port)
  return { url: `svn://127.0.0.1:${port}`, dir }
}

/** Waits until somebody listens on a port of loopback. */
export async function untilOpen(port: number): Promise<void> {
  for (let tries = 0; ; tries++) {
    const isOpen = await new Promise<boolean>((told) => {
      const socket = connect(port, '127.0.0.1', () => told(true)).on('error', () => told(false))
      socket.on('connect', () => socket.destroy())
    })
    if (isOpen) return
    if (tries > 200) throw new Error(`nobody listens on port ${port}`)
    await pause(25)
  }
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  const { port } = server.address() as { port: number }
  await new Promise((done) => server.close(done))
  return port
}

export interface SvnRepo {
  dir: string
  url: string
  /** Runs svn against it directly, as the owner; `^` in an argument is its file:// address. */
  svn(...args: string[]): string
  /** Sets a property of a revision to bytes, as they are. */
  revprop(rev: number, name: string, value: string | Buffer): void
  youngest(): number
}

export function makeRepository(server: SvnServer, name: string): SvnRepo {
  const dir = join(server.dir, name)
  tool('svnadmin', ['create', dir])
  const config = svnFolder()
  const base = `file://${dir}`
  writeFileSync(join(dir, 'hooks/pre-revprop-change'), '#!/bin/sh\nexit 0\n', { mode: 0o755 })
  return {
    dir,
    url: `${server.url}/${name}`,
    svn: (...args) =>
      tool('svn', [
        '--non-interactive',
        '--config-dir',
        config,
        ...args.map((arg) => arg.replace(/^\^/, base)),
      ]).toString(),
    revprop: (rev, name, value) => {
      const file = join(config, 'value')
      writeFileSync(file, value)
      tool('svnadmin', ['setrevprop', dir, '-r', String(rev), name, file])
    },
    youngest: () => Number(tool('svnlook', ['youngest', dir]).toString()),
  }
}

/** A dump stream: what `svnadmin load --bypass-prop-validation` takes, and a client would never have sent. */
export function load(repo: SvnRepo, dump: Buffer | string): void {
  tool('svnadmin', ['load', '-q', '--no-flush-to-disk', '--bypass-prop-validation', repo.dir], dump)
}

export interface DumpNode {
  path: string
  kind?: 'file' | 'dir'
  action: 'add' | 'change' | 'delete' | 'replace'
  from?: { path: string; rev: number }
  text?: string
  props?: Record<string, string>
}

export interface DumpRevision {
  props: Record<string, string | Buffer>
  nodes?: DumpNode[]
}

/** Revisions from 1 on, in the dump format. */
export function dumpOf(revisions: DumpRevision[], first = 1): Buffer {
  const parts: (string | Buffer)[] = ['SVN-fs-dump-format-version: 2\n\n']
  for (const [i, { props, nodes = [] }] of revisions.entries()) {
    const block = propsBlock(props)
    parts.push(
      `Revision-number: ${first + i}\nProp-content-length: ${block.length}\nContent-length: ${block.length}\n\n`,
    )
    parts.push(block, '\n')
    for (const { path, kind, action, from, text, props } of nodes) {
      const block = props === undefined ? Buffer.alloc(0) : propsBlock(props)
      const body = Buffer.from(text ?? '')
      parts.push(`Node-path: ${path}\n`)
      if (kind !== undefined) parts.push(`Node-kind: ${kind}\n`)
      parts.push(`Node-action: ${action}\n`)
      if (from !== undefined) parts.push(`Node-copyfrom-rev: ${from.rev}\nNode-copyfrom-path: ${from.path}\n`)
      if (props !== undefined) parts.push(`Prop-content-length: ${block.length}\n`)
      if (text !== undefined) parts.push(`Text-content-length: ${body.length}\n`)
      if (props !== undefined || text !== undefined)
        parts.push(`Content-length: ${block.length + body.length}\n`)
      parts.push('\n', block, body, '\n\n')
    }
  }
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
}

function propsBlock(props: Record<string, string | Buffer>): Buffer {
  const parts = Object.entries(props).flatMap(([name, value]) => {
    const bytes = Buffer.from(value as string)
    return [`K ${Buffer.byteLength(name)}\n${name}\nV ${bytes.length}\n`, bytes, '\n']
  })
  return Buffer.concat(
    [...parts, 'PROPS-END\n'].map((part) => (typeof part === 'string' ? Buffer.from(part) : part)),
  )
}

/** A program named svn that does as told; `svn` itself is `$REAL`. */
export function fakeSvn(script: string): string {
  const folder = svnFolder()
  const real = execFileSync('sh', ['-c', 'command -v svn']).toString().trim()
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'svn'), `#!/bin/sh\nREAL=${real}\n${script}\n`, { mode: 0o755 })
  return [folder, ENV.PATH].join(delimiter)
}

/** Processes that have `marker` in their command line, or in the environment they were started with. */
export function running(marker: string): string[] {
  const has = (file: string): boolean => readFileSync(file, 'latin1').includes(marker)
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && (has(`/proc/${pid}/cmdline`) || has(`/proc/${pid}/environ`))
    } catch {
      return false
    }
  })
}

export const source = svnSource({ path: ENV.PATH })

export function sourceWith(options: Partial<Parameters<typeof svnSource>[0]>): Source {
  return svnSource({ path: ENV.PATH, ...options })
}

export function accessTo(typed: string, more: Partial<Access> = {}): Access {
  return {
    locator: source.locate(typed),
    tenantId: '',
    settings: {},
    learn: () => {},
    budget: null,
    tier: 'paths',
    pageSize: 500,
    asksDetails: true,
    cacheDir: more.cacheDir ?? svnFolder(),
    credentials: null,
    signal: new AbortController().signal,
    say: () => {},
    ...more,
  }
}

export const EVERYTHING: Ask = { window: 'revisions', scanned: null, again: null }

export async function readPages(
  access: Access,
  ask: Ask = EVERYTHING,
  resume: Resume | null = null,
  by: Source = source,
): Promise<Page[]> {
  const pages: Page[] = []
  const reading = await by.open(access)
  for await (const page of reading.pages(ask, resume)) pages.push(page)
  return pages
}

export function revisionsOf(pages: Pick<Page, 'facts'>[]): Revision[] {
  return pages.flatMap(({ facts }) => facts.revisions ?? [])
}

export function revsOf(pages: Pick<Page, 'facts'>[]): number[] {
  return revisionsOf(pages).map(({ rev }) => rev)
}
