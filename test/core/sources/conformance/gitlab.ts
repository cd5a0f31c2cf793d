import type { JobType } from '../../../../src/core/domain/repo.ts'
import { gitlabSource } from '../../../../src/core/sources/gitlab/gitlab.ts'
import type { Access, Source } from '../../../../src/core/sources/source.ts'
import { tempFolder } from '../../../helpers/git-repo.ts'
import type { Project } from '../../../helpers/gitlab/project.ts'
import { type GitLab, startGitLab } from '../../../helpers/gitlab/server.ts'
import { type Front, openFront } from './front.ts'
import { GitWorld, source as git, ofFront, ofWorld } from './git.ts'
import { restOfMr } from './rows.ts'
import type { Truth, Upstream } from './upstream.ts'

const TOKEN = 'glpat-s3cr3t/+p@ss'
const MINUTE = 60_000

/** A GitLab whose clock goes a minute further with all that happens, from a month ago on. */
interface Place {
  gitlab: GitLab
  project: Project
  front: Front
  pass: (ms: number) => number
}

async function openPlace(root: string): Promise<Place> {
  let now = Math.floor(Date.now() / 3_600_000) * 3_600_000 - 30 * 86_400_000
  const gitlab = await startGitLab({ token: TOKEN, now: () => now })
  const project = gitlab.project({ path: 'group/app' })
  const front = await openFront(root, { api: gitlab.url, password: TOKEN })
  const pass = (ms: number): number => {
    now += ms
    return now
  }
  return { gitlab, project, front, pass }
}

function sourceOf(front: Front, commitsVia: 'api' | 'git', token = TOKEN): Source {
  return gitlabSource({
    home: front.origin,
    instances: [front.origin],
    tokenFor: () => ({ token: async () => token, renewToken: async () => token }),
    limits: { timeoutMs: 5000, maxAttempts: 2, backoffBaseMs: 0, backoffMaxMs: 0 },
    concurrency: 4,
    commitsVia,
    git,
  })
}

function common(
  { gitlab, front }: Place,
  job: JobType,
  via: 'api' | 'git' = 'api',
): Omit<Upstream, 'add' | 'change' | 'changesShow' | 'hostile' | 'truth'> {
  const source = sourceOf(front, via)
  const access = (more: Partial<Access> = {}, typed = 'group/app'): Access => ({
    locator: source.locate(typed),
    tenantId: '',
    settings: {},
    learn: () => {},
    budget: null,
    tier: 'none',
    asksDetails: true,
    pageSize: 1000,
    cacheDir: more.cacheDir ?? tempFolder(),
    credentials: null,
    signal: new AbortController().signal,
    say: () => {},
    ...more,
  })
  return {
    ...ofFront(front),
    kind: 'gitlab',
    job,
    source,
    typed: 'group/app',
    settings: { 'scm.gitlab.url': front.origin, 'scm.gitlab.token': TOKEN },
    access,
    unknown: () => ({ source, access: access({}, 'group/nowhere'), secret: TOKEN }),
    wrong: () => ({
      source: sourceOf(front, via, `${TOKEN}-wrong`),
      access: access(),
      secret: `${TOKEN}-wrong`,
    }),
    stop: () => gitlab.stop(),
  }
}

const commits = (via: 'api' | 'git') => async (): Promise<Upstream> => {
  const world = new GitWorld()
  const place = await openPlace(world.root)
  const { project } = place
  const pushed = (): void => project.importGit(world.repo.dir)
  const made = { ...ofWorld(world, pushed), ...common(place, 'commits', via) }
  if (via === 'git') return made
  return {
    ...made,
    hostile: () => {
      const push = (name: string, message: string): string => {
        const sha = project.commit({ branch: null, parents: [project.head()], raw: { message } })
        project.branch(name, sha)
        return sha
      }
      const long = 'long '.repeat(40_000)
      return [
        { key: push('nul', 'a\0b'), text: 'a\uFFFDb', cleaned: 'message' },
        { key: push('surrogate', 'x\ud800y'), text: 'x\uFFFDy', cleaned: 'message' },
        { key: push('escapes', '\x1b]0;owned\x07\u202e'), text: '\x1b]0;owned\x07\u202e', cleaned: null },
        { key: push('long', long), text: long, cleaned: null },
      ]
    },
  }
}

export const commitsViaApi = commits('api')
export const commitsViaGit = commits('git')

const HOSTILE: [text: string, stored: string, isCleaned: boolean][] = [
  ['a\0b', 'a\uFFFDb', true],
  ['x\ud800y', 'x\uFFFDy', true],
  ['\x1b]0;owned\x07\u202e', '\x1b]0;owned\x07\u202e', false],
  ['long '.repeat(40_000), 'long '.repeat(40_000), false],
]

export async function mergeRequests(): Promise<Upstream> {
  const place = await openPlace(tempFolder())
  const { gitlab, project, pass } = place
  const oldest = (): number =>
    [...project.mrs.values()].sort((a, b) => a.updatedAt - b.updatedAt)[0]?.iid as number
  return {
    ...common(place, 'mrs'),
    add: (count) => {
      for (let n = 0; n < count; n++) project.mr({ at: pass(MINUTE), draft: n % 3 === 1, labels: ['a'] })
      pass(5 * MINUTE)
    },
    change: () => {
      project.edit(oldest(), { title: `Renamed at ${pass(MINUTE)}` })
      project.close(oldest(), { at: pass(MINUTE) })
      pass(5 * MINUTE)
    },
    changesShow: 'at once',
    hostile: () => {
      const made = HOSTILE.map(([description, text, isCleaned]) => {
        const iid = project.mr({ at: pass(MINUTE), description })
        return { key: `!${iid}`, text, cleaned: isCleaned ? 'description' : null }
      })
      pass(5 * MINUTE)
      return made
    },
    truth: () =>
      new Map(
        [...gitlab.truth(project).mrs.values()].map((mr): [string, Truth] => [
          `!${mr.iid}`,
          { text: mr.description ?? '', rest: restOfMr(mr), at: mr.updatedAt },
        ]),
      ),
  }
}

export async function reviews(): Promise<Upstream> {
  const place = await openPlace(tempFolder())
  const { gitlab, project, pass } = place
  const note = () => [...project.mrs.values()].flatMap(({ notes }) => notes)[0]?.id as number
  return {
    ...common(place, 'reviews'),
    add: (count) => {
      for (let n = 0; n < count; n++) {
        const iid = project.mr({ at: pass(1000) })
        const first = project.note(iid, { at: pass(1000) })
        project.note(iid, { at: pass(1000), replyTo: first })
        if (n % 3 === 0) project.approve(iid, { at: pass(1000), by: `user-${n % 2}` })
        if (n % 4 === 0) project.close(iid, { at: pass(1000) })
        if (n % 4 === 0) project.reopen(iid, { at: pass(1000) })
        project.touch(iid, { at: pass(MINUTE) })
      }
      pass(5 * MINUTE)
    },
    change: () => {
      pass(MINUTE)
      project.editNote(note(), { body: 'edited' })
      pass(5 * MINUTE)
    },
    changesShow: 'at once',
    vanish: () => {
      pass(MINUTE)
      project.deleteNote(note(), { bump: true })
      pass(5 * MINUTE)
    },
    hostile: () => {
      const iid = project.mr({ at: pass(MINUTE) })
      const made = HOSTILE.map(([body, text, isCleaned]) => {
        const id = project.note(iid, { at: pass(MINUTE), body })
        return { key: `!${iid} note:${id}`, text, cleaned: isCleaned ? 'body' : null }
      })
      pass(5 * MINUTE)
      return made
    },
    truth: () => {
      const { mrs, reviews } = gitlab.truth(project)
      const rows = new Map<string, Truth>()
      for (const [iid, { notes, states, approvals, bodies }] of reviews)
        for (const id of [...notes, ...states, ...approvals])
          rows.set(`!${iid} ${id}`, {
            text: bodies.get(id) ?? '',
            rest: id.slice(0, id.indexOf(':')),
            at: mrs.get(iid)?.updatedAt as number,
          })
      return rows
    },
  }
}
