import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeText } from '../../domain/clean.ts'
import { SyncError } from '../../domain/errors.ts'
import type { Ref, RefKind } from '../../domain/facts.ts'
import { oneLine } from '../../domain/one-line.ts'
import { charsWithin } from '../chars-within.ts'
import type { Heads } from '../source.ts'
import { runGit } from './child.ts'
import { commonDirOf, type Repository } from './repository.ts'

/**
 * Every ref as `git rev-list --all` understands it, peeled to commits; tags of trees and blobs lead to none.
 * Names are whole (`refs/heads/main`), since a branch and a tag may share a short one. For a folder people work in
 * that means all of refs/ (remotes, stash, notes), and HEADs that stand on a commit no ref names.
 */
export async function readHeads(repo: Repository): Promise<Heads> {
  const named = await listRefs(repo)
  const ids = [...new Set(named.map(([, id]) => id))]
  const loose = await headsBesides(repo)

  const peeled = await peel(repo, [...ids, ...loose])
  const heads: Heads = {}
  const broken = named.find(([, id]) => peeled.get(id) === 'gone')
  if (broken !== undefined)
    throw new SyncError('upstream', oneLine(`${broken[0]} names ${broken[1]}, which is not there`), {
      hint: 'run git fsck in the repository',
    })
  for (const [name, id] of named) {
    const commit = peeled.get(id)
    if (commit !== undefined && commit !== null) heads[name] = commit
  }

  const reached = new Set(Object.values(heads))
  for (const name of loose) {
    const commit = peeled.get(name)
    if (typeof commit !== 'string' || commit === 'gone' || reached.has(commit)) continue
    // On a branch, which was pushed to since it was listed: the next look has both.
    if (await isSymbolic(repo, name)) continue
    reached.add(commit)
    heads[name] = commit
  }
  return heads
}

/** Names and ids exactly as they stand, unpeeled. */
export async function listRefs(repo: Repository): Promise<[name: string, id: string][]> {
  const { out, stderr } = await runGit(repo.git, 'listing refs', [
    'for-each-ref',
    '--format=%(objectname) %(refname)',
  ])
  // Git drops such a ref with a warning; to us that would look like a deleted branch.
  const broken = /ignoring broken ref (.*)/.exec(stderr)?.[1]
  if (broken !== undefined)
    throw new SyncError('upstream', oneLine(`the ref ${broken} is broken`), {
      hint: 'run git fsck in the repository',
    })
  return parseRefLines(out, ' ')
}

/** What a server says it has. Peeled ids of annotated tags come as `name^{}`. */
export interface Remote {
  refs: [name: string, id: string][]
}

const PEELED = '^{}'

/** Lines `<id><separator><name>`, from for-each-ref and ls-remote. */
export function parseRefLines(out: Buffer, separator: ' ' | '\t'): [name: string, id: string][] {
  const refs: [string, string][] = []
  for (let at = 0; at < out.length; ) {
    const newline = out.indexOf(10, at)
    const end = newline < 0 ? out.length : newline
    const cut = out.indexOf(separator, at)
    if (cut > at && cut < end) {
      // The mark of a peeled id is no part of the name: both ids of a tag must come under one.
      const mark = out.toString('latin1', end - PEELED.length, end) === PEELED ? PEELED : ''
      const name = refName(out.subarray(cut + 1, end - mark.length))
      refs.push([`${name}${mark}`, out.toString('latin1', at, cut)])
    }
    at = end + 1
  }
  return refs
}

/** A row of a PostgreSQL index holds 2,704 bytes, and packed-refs holds names of any length. */
const MAX_NAME_BYTES = 1000
const CUT_BYTES = MAX_NAME_BYTES - '~01234567'.length

/** Git's ref names are bytes. Two that are cleaned or cut to the same text must stay two; no real name holds a tilde. */
export function refName(bytes: Buffer): string {
  const { text, intact } = decodeText(bytes)
  const isLong = Buffer.byteLength(text) > MAX_NAME_BYTES
  if (intact && !isLong) return text
  const kept = isLong ? charsWithin(Buffer.from(text), CUT_BYTES) : text
  return `${kept}~${createHash('sha256').update(bytes).digest('hex').slice(0, 8)}`
}

function kindOfRef(name: string): RefKind {
  if (name.startsWith('refs/heads/')) return 'branch'
  return name.startsWith('refs/tags/') ? 'tag' : 'other'
}

export function refsOf(heads: Heads): Ref[] {
  return Object.entries(heads).map(([name, sha]) => ({ name, kind: kindOfRef(name), sha }))
}

/** HEAD, and the HEADs of linked work trees: `rev-list --all` counts them all. */
async function headsBesides(repo: Repository): Promise<string[]> {
  const gitDir = repo.git.gitDir
  if (gitDir === null) return []
  const trees = await readdir(join(await commonDirOf(gitDir), 'worktrees')).catch(() => [])
  return ['HEAD', 'main-worktree/HEAD', ...trees.filter(isPlain).map((id) => `worktrees/${id}/HEAD`)]
}

async function isSymbolic(repo: Repository, name: string): Promise<boolean> {
  const args = ['symbolic-ref', '--quiet', '--', name]
  return (await runGit(repo.git, 'reading HEAD', args, { codes: [0, 1] })).code === 0
}

function isPlain(id: string): boolean {
  return /^[\w.-]+$/.test(id)
}

/** What each name or id leads to: a commit's sha, null for another kind of object, 'gone' when it is not there. */
export async function peel(repo: Repository, names: string[]): Promise<Map<string, string | 'gone' | null>> {
  const peeled = new Map<string, string | null>()
  if (names.length === 0) return peeled
  const commits = await check(
    repo,
    names.map((name) => `${name}^{commit}`),
  )
  const others = names.filter((_, i) => commits[i] === null)
  const found = await check(repo, others)
  for (const [i, name] of names.entries()) peeled.set(name, commits[i] ?? null)
  for (const [i, name] of others.entries()) if (found[i] === null) peeled.set(name, 'gone')
  return peeled
}

/** The ids of those that exist, in order; null for the others. */
async function check(repo: Repository, names: string[]): Promise<(string | null)[]> {
  if (names.length === 0) return []
  const { out } = await runGit(
    repo.git,
    'looking up refs',
    ['cat-file', '--batch-check=%(objectname)', '--buffer'],
    {
      input: `${names.join('\n')}\n`,
    },
  )
  const lines = out.toString('latin1').split('\n')
  return names.map((_, i) => (/^[0-9a-f]+$/.test(lines[i] ?? '') ? (lines[i] as string) : null))
}

/** Which of these commits the repository still has. */
export async function present(repo: Repository, shas: readonly string[]): Promise<string[]> {
  const id = new RegExp(`^[0-9a-f]{${repo.idBytes * 2}}$`)
  const well = [...new Set(shas)].filter((sha) => id.test(sha))
  const found = await check(
    repo,
    well.map((sha) => `${sha}^{commit}`),
  )
  return well.filter((_, i) => found[i] !== null)
}
