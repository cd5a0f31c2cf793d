import { mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { gitSource } from '../../../../src/core/sources/git/git.ts'
import type { Access } from '../../../../src/core/sources/source.ts'
import { accessTo, repoAt, type TestRepo, tempFolder } from '../../../helpers/git-repo.ts'
import { readGit } from '../../../helpers/gitlab/git-import.ts'
import { type Front, openFront } from './front.ts'
import { restOfCommit } from './rows.ts'
import type { Hostile, Truth, Upstream } from './upstream.ts'

const START = Math.floor(Date.now() / 3_600_000) * 3600 - 30 * 86_400
const SECRET = 's3cr3t/+p@ss'

export const source = gitSource({ path: process.env.PATH ?? '', home: null })

/** A bare repository that people push to. */
export class GitWorld {
  readonly root = tempFolder()
  readonly repo: TestRepo
  #minute = 0
  #told: { refs: string; truth: Map<string, Truth> } | null = null
  readonly #branches = new Set<string>()

  constructor() {
    const dir = join(this.root, 'group', 'app.git')
    mkdirSync(dir, { recursive: true })
    this.repo = repoAt(dir, ['--bare'])
  }

  now(): number {
    return START + 60 * this.#minute++
  }

  /** Most on main, every third on dev, and now and then dev is merged. */
  add(count: number): void {
    const out: string[] = []
    const tips = new Map<string, string>()
    for (let n = 0; n < count; n++) {
      const at = this.now()
      const isOnDev = this.#branches.size > 0 && n % 3 === 2
      const branch = isOnDev ? 'dev' : 'main'
      const main = tips.get('main') ?? (this.#branches.has('main') ? 'refs/heads/main^0' : null)
      const from = tips.get(branch) ?? (this.#branches.has(branch) ? `refs/heads/${branch}^0` : main)
      const text = `commit at ${at}: é\n\nbody\n`
      out.push(`commit refs/heads/${branch}\nmark :${n + 1}\n`)
      out.push(`author A <a@example.com> ${at - 30} +0530\ncommitter C <c@example.com> ${at} -0330\n`)
      out.push(`data ${Buffer.byteLength(text)}\n${text}\n`)
      if (from !== null) out.push(`from ${from}\n`)
      const dev = tips.get('dev')
      if (branch === 'main' && n % 7 === 6 && dev) out.push(`merge ${dev}\n`)
      tips.set(branch, `:${n + 1}`)
      this.#branches.add(branch)
    }
    this.repo.feed(out.join(''), 'fast-import', '--quiet', '--force')
  }

  /** A forced push that leaves two commits of main behind. */
  change(): void {
    const parent = this.repo.git('rev-parse', 'main~2')
    this.repo.git('branch', '-f', 'kept', parent)
    this.repo.commit('amended', { date: this.now(), parents: [parent] })
  }

  /** A branch with a commit of its own is deleted. */
  vanish(): void {
    this.repo.git('update-ref', '-d', 'refs/heads/dev')
    this.#branches.delete('dev')
  }

  hostile(): Hostile[] {
    const parent = this.repo.git('rev-parse', 'main')
    const tree = this.repo.git('mktree')
    const push = (name: string, message: Buffer | string): string => {
      const at = this.now()
      const head = `tree ${tree}\nparent ${parent}\nauthor A <a@example.com> ${at} +0000\ncommitter C <c@example.com> ${at} +0000\n\n`
      const sha = this.repo.rawCommit(Buffer.concat([Buffer.from(head), Buffer.from(message as string)]))
      this.repo.git('update-ref', `refs/heads/${name}`, sha)
      return sha
    }
    const long = `${'long '.repeat(40_000)}\n`
    return [
      { key: push('nul', 'a\0b\n'), text: 'a\uFFFDb\n', cleaned: 'message' },
      { key: push('latin1', Buffer.from('caf\xe9\n', 'latin1')), text: 'caf\uFFFD\n', cleaned: 'message' },
      {
        key: push('surrogate', Buffer.from([0x78, 0xed, 0xa0, 0x80, 0x79, 0x0a])),
        text: 'x\uFFFD\uFFFD\uFFFDy\n',
        cleaned: 'message',
      },
      {
        key: push('escapes', '\x1b]0;owned\x07\u202e\x9b\n'),
        text: '\x1b]0;owned\x07\u202e\x9b\n',
        cleaned: null,
      },
      { key: push('long', long), text: long, cleaned: null },
    ]
  }

  truth(): Map<string, Truth> {
    const refs = this.repo.git('for-each-ref')
    if (this.#told?.refs !== refs) this.#told = { refs, truth: this.#truth() }
    return new Map(this.#told.truth)
  }

  #truth(): Map<string, Truth> {
    return new Map(
      readGit(this.repo.dir).commits.map((commit) => [
        commit.sha,
        { text: commit.message, rest: restOfCommit(commit), at: commit.committer.epochSeconds * 1000 },
      ]),
    )
  }
}

export async function gitFolder(): Promise<Upstream> {
  const world = new GitWorld()
  const { dir } = world.repo
  const there = accessTo(dir)
  const access = (more: Partial<Access> = {}): Access => ({ ...there, cacheDir: tempFolder(), ...more })
  let isGone = false
  return {
    ...ofWorld(world),
    kind: 'git',
    job: 'commits',
    source,
    typed: dir,
    settings: {},
    access,
    requests: () => null,
    busy: () => 0,
    fail: () => {
      if (!isGone) renameSync(dir, `${dir}.gone`)
      isGone = true
    },
    heal: () => {
      if (isGone) renameSync(`${dir}.gone`, dir)
      isGone = false
    },
    marker: dir,
    unknown: () => ({ source, access: access({ locator: join(world.root, 'nowhere') }) }),
    stop: async () => {},
  }
}

/** Through a mirror, with a password. */
export async function gitOverHttp(): Promise<Upstream> {
  const world = new GitWorld()
  const front = await openFront(world.root, { password: SECRET })
  const typed = `${front.origin}/group/app.git`
  const credentials = { host: front.host, username: 'bot', password: SECRET }
  const access = (more: Partial<Access> = {}) => accessTo(typed, { credentials, ...more })
  const wrong = { ...credentials, password: `${SECRET}-wrong` }
  return {
    ...ofWorld(world),
    ...ofFront(front),
    kind: 'git',
    job: 'commits',
    source,
    typed,
    settings: {
      'scm.git.credential_host': front.host,
      'scm.git.username': 'bot',
      'scm.git.password': SECRET,
    },
    access,
    unknown: () => ({
      source,
      access: accessTo(`${front.origin}/group/nowhere.git`, { credentials }),
      secret: SECRET,
    }),
    wrong: () => ({ source, access: access({ credentials: wrong }), secret: wrong.password }),
    stop: async () => {},
  }
}

export function ofWorld(
  world: GitWorld,
  pushed: () => void = () => {},
): Pick<Upstream, 'add' | 'change' | 'changesShow' | 'vanish' | 'hostile' | 'truth'> {
  const and = <T>(value: T): T => {
    pushed()
    return value
  }
  return {
    add: (count) => and(world.add(count)),
    change: () => and(world.change()),
    changesShow: 'at once',
    vanish: () => and(world.vanish()),
    hostile: () => and(world.hostile()),
    truth: () => world.truth(),
  }
}

export function ofFront(
  front: Front,
): Pick<Upstream, 'requests' | 'busy' | 'fail' | 'hang' | 'heal' | 'marker'> {
  return {
    requests: front.requests,
    busy: front.busy,
    fail: front.fail,
    hang: front.hang,
    heal: front.heal,
    marker: front.host,
  }
}
