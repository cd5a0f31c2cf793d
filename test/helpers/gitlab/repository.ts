import { readGit } from './git-import.ts'
import { type ChangedFile, type GraphCommit, History, type Signature } from './history.ts'
import type { World } from './world.ts'

export interface CommitOptions {
  /** The branch it is pushed to: default the default branch. Null leaves it on no branch. */
  branch?: string | null
  /** Default the branch's head. */
  parents?: string[]
  /** Milliseconds since 1970, of both dates: default now. */
  at?: number
  authoredAt?: number
  message?: string
  author?: { name: string; email: string; offsetMinutes?: number }
  committer?: { name: string; email: string; offsetMinutes?: number }
  files?: ChangedFile[]
  raw?: object
}

const NOBODY = { name: 'A U Thor', email: 'author@example.com' }

/** The git side of a project. */
export class Repository {
  readonly history = new History()
  readonly branches = new Map<string, string>()
  /** `target` is the tag object of an annotated tag; `sha` is null when the tag leads to no commit. */
  readonly tags = new Map<string, { target: string; sha: string | null; message: string }>()
  defaultBranch = 'main'
  /** Refs that only GitLab sees: merge request heads, also former ones. They keep commits alive and show with `all`. */
  readonly kept = new Set<string>()
  readonly world: World
  #count = 0

  constructor(world: World) {
    this.world = world
  }

  /** Makes a commit and moves its branch to it. */
  commit(options: CommitOptions = {}): string {
    const {
      branch = this.defaultBranch,
      author = NOBODY,
      committer = author,
      files = [],
      raw = null,
    } = options
    const tip = branch === null ? undefined : this.branches.get(branch)
    const at = options.at ?? this.world.now()
    const signed = (who: NonNullable<CommitOptions['author']>, ms: number): Signature => ({
      name: who.name,
      email: who.email,
      epochSeconds: Math.floor(ms / 1000),
      offsetMinutes: who.offsetMinutes ?? 0,
    })
    const sha = this.history.create({
      parents: options.parents ?? (tip === undefined ? [] : [tip]),
      author: signed(author, options.authoredAt ?? at),
      committer: signed(committer, at),
      message: options.message ?? `commit ${++this.#count}`,
      files,
      raw,
    })
    if (branch !== null) this.setBranch(branch, sha)
    return sha
  }

  /** Merges a branch or commit into a branch, with a merge commit. */
  merge(
    from: string,
    into: string = this.defaultBranch,
    options: Omit<CommitOptions, 'branch' | 'parents'> = {},
  ): string {
    const [theirs, ours] = [this.resolve(from), this.branches.get(into)]
    if (theirs === null || ours === undefined) throw new Error(`cannot merge ${from} into ${into}`)
    const message = `Merge branch '${from}' into '${into}'`
    return this.commit({ message, ...options, branch: into, parents: [ours, theirs] })
  }

  /** Makes or moves a branch. */
  branch(name: string, sha: string = this.head()): string {
    this.setBranch(name, sha)
    return sha
  }

  /** The same; says in a test that the move is no fast-forward. What is left behind stays until gc(). */
  forcePush(name: string, sha: string): void {
    this.setBranch(name, sha)
  }

  deleteBranch(name: string): void {
    this.branches.delete(name)
  }

  /** `annotated` gives the tag an object of its own, so that its `target` is not the commit. */
  tag(name: string, sha: string = this.head(), { annotated = false, message = '' } = {}): void {
    const target = annotated ? this.world.hash(`tag ${name} ${sha} ${message}`) : sha
    this.tags.set(name, { target, sha, message })
  }

  deleteTag(name: string): void {
    this.tags.delete(name)
  }

  /** Forgets commits that nothing reaches: ranges from them are 404 after it. */
  gc(): void {
    this.history.keepOnly([...this.heads(), ...this.kept])
  }

  /** Loads, or loads again, all branches, tags and commits of a real git repository. */
  importGit(dir: string): void {
    const read = readGit(dir)
    for (const commit of read.commits) this.history.add(commit)
    this.defaultBranch = read.defaultBranch
    for (const name of this.branches.keys()) if (!read.branches.has(name)) this.deleteBranch(name)
    for (const [name, sha] of read.branches) if (this.branches.get(name) !== sha) this.setBranch(name, sha)
    this.tags.clear()
    for (const [name, tag] of read.tags) this.tags.set(name, { ...tag, message: '' })
  }

  /** The default branch's head. */
  head(): string {
    const sha = this.branches.get(this.defaultBranch)
    if (sha === undefined) throw new Error(`there is no branch ${this.defaultBranch}`)
    return sha
  }

  /** Heads of branches and tags. */
  heads(): string[] {
    const tags = [...this.tags.values()].flatMap(({ sha }) => sha ?? [])
    return [...new Set([...this.branches.values(), ...tags])]
  }

  /** A sha (4 digits are enough), a tag or a branch (a tag wins, as in git), a full ref name, or HEAD. */
  resolve(rev: string): string | null {
    if (rev === 'HEAD') return this.branches.get(this.defaultBranch) ?? null
    if (rev.startsWith('refs/heads/')) return this.branches.get(rev.slice(11)) ?? null
    if (rev.startsWith('refs/tags/')) return this.tags.get(rev.slice(10))?.sha ?? null
    if (this.history.commits.has(rev)) return rev
    const named = this.tags.get(rev)?.sha ?? this.branches.get(rev)
    if (named !== undefined) return named
    if (!/^[0-9a-f]{4,63}$/.test(rev)) return null
    const matches = [...this.history.commits.keys()].filter((sha) => sha.startsWith(rev))
    return matches.length === 1 ? (matches[0] as string) : null
  }

  commitOf(sha: string): GraphCommit | undefined {
    return this.history.commits.get(sha)
  }

  /** Every move of a branch comes through here. */
  protected setBranch(name: string, sha: string): void {
    if (!this.history.commits.has(sha)) throw new Error(`there is no commit ${sha}`)
    this.branches.set(name, sha)
  }
}
