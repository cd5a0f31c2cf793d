import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import type { Commit } from '../../src/core/domain/facts.ts'
import { gitSource } from '../../src/core/sources/git/git.ts'
import type { Access, Ask, Page, Resume } from '../../src/core/sources/source.ts'

/** Real repositories in folders that are gone after the test file. */
const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

export function tempFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'git-room-')))
  folders.push(folder)
  return folder
}

const ENV = {
  PATH: process.env.PATH ?? '',
  LC_ALL: 'C.UTF-8',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  // A repository that lives as long as a test need not outlive the machine.
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'core.fsync',
  GIT_CONFIG_VALUE_0: 'none',
  GIT_AUTHOR_NAME: 'A U Thor',
  GIT_AUTHOR_EMAIL: 'author@example.com',
  GIT_AUTHOR_DATE: '1700000000 +0200',
  GIT_COMMITTER_NAME: 'C O Mitter',
  GIT_COMMITTER_EMAIL: 'committer@example.com',
  GIT_COMMITTER_DATE: '1700000000 +0000',
}

export interface TestRepo {
  dir: string
  /** Runs git in it and answers its trimmed output. */
  git(...args: string[]): string
  /** The same with stdin, which may be bytes. */
  feed(input: string | Buffer, ...args: string[]): string
  /** `git rev-list --all`, or of the revisions given, as a sorted list: the truth to hold against. */
  all(...revs: string[]): string[]
  /** Stores bytes as a commit object, whatever they are, and answers its id. */
  rawCommit(bytes: string | Buffer): string
  /** An empty commit on a branch. */
  commit(message: string, more?: { branch?: string; date?: number; parents?: string[] }): string
}

export function makeRepo(...initArgs: string[]): TestRepo {
  return repoAt(tempFolder(), initArgs)
}

export function repoAt(dir: string, initArgs: string[] | null = []): TestRepo {
  const run = (input: string | Buffer, args: string[], env: Record<string, string> = {}): string =>
    execFileSync('git', args, {
      cwd: dir,
      env: { ...ENV, ...env },
      input,
      maxBuffer: 1 << 28,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
      .toString()
      .trimEnd()
  if (initArgs !== null) run('', ['init', '-q', '-b', 'main', ...initArgs])

  let tree: string | undefined
  const tipOf = (ref: string): string[] => {
    const { stdout } = spawnSync('git', ['rev-parse', '-q', '--verify', ref], { cwd: dir, env: ENV })
    const tip = stdout.toString().trim()
    return tip === '' ? [] : [tip]
  }
  const repo: TestRepo = {
    dir,
    git: (...args) => run('', args),
    feed: (input, ...args) => run(input, args),
    all: (...revs) =>
      run('', ['rev-list', ...(revs.length === 0 ? ['--all'] : revs)])
        .split('\n')
        .filter(Boolean)
        .sort(),
    rawCommit: (bytes) => run(bytes, ['hash-object', '-w', '--literally', '-t', 'commit', '--stdin']),
    commit: (message, { branch = 'main', date = 1_700_000_000, parents } = {}) => {
      const ref = `refs/heads/${branch}`
      const from = parents ?? tipOf(ref)
      tree ??= run('', ['mktree'])
      const dates = { GIT_AUTHOR_DATE: `@${date} +0000`, GIT_COMMITTER_DATE: `@${date} +0000` }
      const sha = run(message, ['commit-tree', tree, ...from.flatMap((parent) => ['-p', parent])], dates)
      run('', ['update-ref', ref, sha])
      return sha
    },
  }
  return repo
}

/** A pseudo-random source that a printed seed brings back. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32
  }
}

export function newSeed(): number {
  const seed = Math.floor(Math.random() * 2 ** 32)
  process.stderr.write(`history seed ${seed}\n`)
  return seed
}

/** A `git fast-import` stream of `count` commits with branches, merges, skewed clocks, renames and deletions. */
export function historyStream(seed: number, count: number, start = 1_500_000_000): string {
  const random = seeded(seed)
  const branches = ['main', 'dev', 'rel/1', 'x']
  const tips = new Map<string, number>()
  const out: string[] = []
  for (let i = 1; i <= count; i++) {
    const branch = branches[Math.floor(random() * branches.length)] as string
    const date = start + i * 60 - (random() < 0.1 ? Math.floor(random() * 1e7) : 0)
    const message = `commit ${i} ${'é'.repeat(Math.floor(random() * 3))}\n\nbody ${random()}\n`
    const from = tips.get(branch) ?? tips.get('main')
    const others = [...tips.values()].filter((mark) => mark !== from)
    out.push(`commit refs/heads/${branch}\nmark :${i}\n`)
    out.push(`author A${i % 7} <a${i % 7}@example.com> ${date} +0100\n`)
    out.push(`committer C <c@example.com> ${date + 5} -0330\n`)
    out.push(`data ${Buffer.byteLength(message)}\n${message}\n`)
    if (from !== undefined) out.push(`from :${from}\n`)
    if (from !== undefined && others.length > 0 && random() < 0.2)
      out.push(`merge :${others[Math.floor(random() * others.length)]}\n`)
    const file = `d${Math.floor(random() * 5)}/f${Math.floor(random() * 9)}`
    if (random() < 0.15) out.push(`D ${file}\n`)
    else out.push(`M 644 inline ${file}\ndata ${`${i}\nx\n`.length}\n${i}\nx\n\n`)
    tips.set(branch, i)
  }
  return out.join('')
}

export function importHistory(repo: TestRepo, seed: number, count: number): void {
  repo.feed(historyStream(seed, count), 'fast-import', '--quiet', '--force')
}

export const source = gitSource({ path: ENV.PATH, home: null })

/** Patient with nothing: what hangs must show. */
export function sourceWith(deadlines: { ask?: number; fetch?: number; read?: number }, path = ENV.PATH) {
  return gitSource({ path, home: null, deadlines })
}

export function accessTo(typed: string, more: Partial<Access> = {}): Access {
  return {
    locator: source.locate(typed),
    tenantId: '',
    settings: {},
    learn: () => {},
    budget: null,
    tier: 'none',
    pageSize: 1000,
    asksDetails: true,
    cacheDir: more.cacheDir ?? tempFolder(),
    credentials: null,
    signal: new AbortController().signal,
    say: () => {},
    ...more,
  }
}

export const EVERYTHING: Ask = { window: 'heads', known: {}, refetch: null }

export async function readPages(
  access: Access,
  ask: Ask = EVERYTHING,
  resume: Resume | null = null,
  by = source,
): Promise<Page[]> {
  const pages: Page[] = []
  const reading = await by.open(access)
  for await (const page of reading.pages(ask, resume)) pages.push(page)
  return pages
}

export function shasOf(pages: Page[]): string[] {
  return pages.flatMap(commitsOf).map((commit) => commit.sha)
}

export function commitsOf(page: Pick<Page, 'facts'>): Commit[] {
  return page.facts.commits ?? []
}
