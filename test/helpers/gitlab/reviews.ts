import { Repository } from './repository.ts'
import type { User } from './world.ts'

export interface MrOptions {
  iid?: number
  title?: string
  description?: string | null
  /** Branches; default `feature-<iid>` into the default branch. They need not exist. */
  source?: string
  target?: string
  /** A username; null is an author that is gone. */
  author?: string | null
  draft?: boolean
  labels?: string[]
  assignees?: string[]
  reviewers?: string[]
  /** Milliseconds since 1970: default now. `updatedAt` defaults to `at`. */
  at?: number
  updatedAt?: number
  raw?: object
}

export interface NoteOptions {
  body?: string
  author?: string | null
  system?: boolean
  /** Makes it a diff note. */
  position?: { newPath: string; newLine: number | null; oldPath?: string; oldLine?: number | null }
  /** The discussion it answers, by the id of any of its notes. */
  replyTo?: number
  resolved?: boolean
  /** Not for our eyes: it takes its place in a page and is left out of it. */
  hidden?: boolean
  at?: number
  raw?: object
}

export interface Note {
  id: number
  discussion: string
  type: null | 'DiscussionNote' | 'DiffNote'
  body: string
  author: User | null
  system: boolean
  position: NoteOptions['position'] | null
  resolved: boolean
  hidden: boolean
  createdAt: number
  updatedAt: number
  raw: object | null
}

export interface StateEvent {
  id: number
  user: User | null
  at: number
  state: 'closed' | 'reopened' | 'merged'
}

export interface Mr {
  id: number
  iid: number
  title: string
  description: string | null
  state: 'opened' | 'closed' | 'merged' | 'locked'
  source: string
  target: string
  author: User | null
  draft: boolean
  labels: string[]
  assignees: User[]
  reviewers: User[]
  createdAt: number
  updatedAt: number
  mergedAt: number | null
  closedAt: number | null
  mergedBy: User | null
  closedBy: User | null
  sha: string | null
  mergeCommitSha: string | null
  notes: Note[]
  approvals: { user: User; at: number }[]
  states: StateEvent[]
  raw: object | null
  /** Its place among rows of equal time: any, and always the same. */
  tie: string
  /** Its JSON until something changes. */
  json: string | null
}

/** What somebody does to a merge request, and when: default somebody, now. */
export interface Act {
  by?: string
  at?: number
}

/** The merge requests of a project. Every change moves `updated_at` unless its docstring says otherwise. */
export class Reviews extends Repository {
  readonly mrs = new Map<number, Mr>()
  /** Hides every n-th note that is made from now on, so that pages come out short; 0 hides none. */
  hideEvery = 0
  #notes = 0
  #last = 0
  #sorted: { updated: Mr[] | null; created: Mr[] | null } = { updated: null, created: null }

  /** Opens a merge request and answers its iid. */
  mr(options: MrOptions = {}): number {
    const iid = options.iid ?? this.#last + 1
    this.#last = Math.max(this.#last, iid)
    const id = this.world.nextId('mr')
    const at = options.at ?? this.world.stamp()
    const source = options.source ?? `feature-${iid}`
    this.mrs.set(iid, {
      id,
      iid,
      title: options.title ?? `Change ${iid}`,
      description: options.description === undefined ? `Description of ${iid}` : options.description,
      state: 'opened',
      source,
      target: options.target ?? this.defaultBranch,
      author: this.#user(options.author),
      draft: options.draft ?? false,
      labels: options.labels ?? [],
      assignees: (options.assignees ?? []).map((name) => this.world.user(name)),
      reviewers: (options.reviewers ?? []).map((name) => this.world.user(name)),
      createdAt: at,
      updatedAt: options.updatedAt ?? at,
      mergedAt: null,
      closedAt: null,
      mergedBy: null,
      closedBy: null,
      sha: this.branches.get(source) ?? null,
      mergeCommitSha: null,
      notes: [],
      approvals: [],
      states: [],
      raw: options.raw ?? null,
      tie: this.world.hash(`tie ${id}`),
      json: null,
    })
    this.#keep(this.branches.get(source))
    this.#sorted = { updated: null, created: null }
    return iid
  }

  /** Changes fields. */
  edit(iid: number, fields: Partial<Omit<Mr, 'iid' | 'json' | 'tie'>>): void {
    Object.assign(this.one(iid), fields)
    this.touch(iid, fields.updatedAt === undefined ? {} : { at: fields.updatedAt })
  }

  /** Moves `updated_at` and nothing else. `at` may lie in the past: a transaction that was committed late. */
  touch(iid: number, { at = this.world.stamp() }: Act = {}): void {
    const mr = this.one(iid)
    mr.updatedAt = at
    mr.json = null
    this.#sorted.updated = null
  }

  /** Writes a note, also a system note, and answers its id. */
  note(iid: number, options: NoteOptions = {}): number {
    const mr = this.one(iid)
    const id = this.world.nextId('note')
    const at = options.at ?? this.world.stamp()
    const parent = options.replyTo === undefined ? null : noteOf(mr, options.replyTo)
    const threaded = parent === null ? null : 'DiscussionNote'
    if (parent !== null && parent.type === null) parent.type = threaded
    this.#notes++
    mr.notes.push({
      id,
      discussion: parent?.discussion ?? this.world.hash(`discussion ${id}`),
      type: options.position !== undefined || parent?.type === 'DiffNote' ? 'DiffNote' : threaded,
      body: options.body ?? `note ${id}`,
      author: this.#user(options.author),
      system: options.system ?? false,
      position: options.position ?? null,
      resolved: options.resolved ?? false,
      hidden: options.hidden ?? (this.hideEvery > 0 && this.#notes % this.hideEvery === 0),
      createdAt: at,
      updatedAt: at,
      raw: options.raw ?? null,
    })
    mr.notes.sort((a, b) => a.createdAt - b.createdAt || a.id - b.id)
    this.touch(iid, { at })
    return id
  }

  /** Moves the merge request's `updated_at` unless `bump` is false. */
  editNote(id: number, change: { body?: string; resolved?: boolean }, { bump = true } = {}): void {
    const mr = this.#mrOfNote(id)
    Object.assign(noteOf(mr, id), change, { updatedAt: this.world.stamp() })
    if (bump) this.touch(mr.iid)
  }

  /** Leaves no trace but a smaller `user_notes_count`; moves `updated_at` only if `bump` is true. */
  deleteNote(id: number, { bump = false } = {}): void {
    const mr = this.#mrOfNote(id)
    mr.notes = mr.notes.filter((note) => note.id !== id)
    mr.json = null
    if (bump) this.touch(mr.iid)
  }

  /** Also writes the system note; approving twice changes nothing. */
  approve(iid: number, { by = 'reviewer', at = this.world.stamp() }: Act = {}): void {
    const mr = this.one(iid)
    if (mr.approvals.some(({ user }) => user.username === by)) return
    mr.approvals.push({ user: this.world.user(by), at })
    this.note(iid, { body: 'approved this merge request', author: by, system: true, hidden: false, at })
  }

  unapprove(iid: number, { by = 'reviewer', at = this.world.stamp() }: Act = {}): void {
    const mr = this.one(iid)
    mr.approvals = mr.approvals.filter(({ user }) => user.username !== by)
    this.note(iid, { body: 'unapproved this merge request', author: by, system: true, hidden: false, at })
  }

  /** A state event, no system note: GitLab has written none since 13.2. */
  close(iid: number, { by = 'maintainer', at = this.world.stamp() }: Act = {}): void {
    const fields = { state: 'closed', closedAt: at, closedBy: this.world.user(by) } as const
    this.#turn(iid, 'closed', fields, by, at)
  }

  reopen(iid: number, { by = 'maintainer', at = this.world.stamp() }: Act = {}): void {
    this.#turn(iid, 'reopened', { state: 'opened', closedAt: null, closedBy: null }, by, at)
  }

  /** Makes the merge commit too when both branches are there. */
  mergeMr(iid: number, { by = 'maintainer', at = this.world.stamp() }: Act = {}): void {
    const mr = this.one(iid)
    const there = this.branches.has(mr.source) && this.branches.has(mr.target)
    const mergeCommitSha = there ? this.merge(mr.source, mr.target, { at }) : null
    this.#turn(
      iid,
      'merged',
      { state: 'merged', mergedAt: at, mergedBy: this.world.user(by), mergeCommitSha },
      by,
      at,
    )
  }

  /** As if it had never been: its iid stays a gap. */
  deleteMr(iid: number): void {
    this.mrs.delete(iid)
    this.#sorted = { updated: null, created: null }
  }

  /** The merge request of that iid, to look at or to tamper with (then touch it). */
  one(iid: number): Mr {
    const mr = this.mrs.get(iid)
    if (mr === undefined) throw new Error(`there is no merge request ${iid}`)
    return mr
  }

  /** All of them, oldest first by creation or update. Between equal times their order means nothing. */
  inOrder(by: 'updated' | 'created'): Mr[] {
    const at = (mr: Mr): number => (by === 'updated' ? mr.updatedAt : mr.createdAt)
    this.#sorted[by] ??= [...this.mrs.values()].sort(
      (a, b) => at(a) - at(b) || this.hiddenMicros(a) - this.hiddenMicros(b) || (a.tie < b.tie ? -1 : 1),
    )
    return this.#sorted[by]
  }

  /** With resolution `us`: what PostgreSQL has and JSON does not show. `updated_before` an instant leaves it out. */
  hiddenMicros(mr: Mr): number {
    if (this.world.resolution !== 'us') return 0
    return Number.parseInt(this.world.hash(`us ${mr.id} ${mr.updatedAt}`).slice(0, 8), 16) % 1000
  }

  /** A push to the source branch of an open merge request is noted there. */
  protected override setBranch(name: string, sha: string): void {
    super.setBranch(name, sha)
    for (const mr of this.mrs.values()) {
      if (mr.source !== name || mr.state !== 'opened' || mr.sha === sha) continue
      const first = mr.sha === null
      mr.sha = sha
      this.#keep(sha)
      if (!first) this.note(mr.iid, { body: 'added 1 commit', system: true, hidden: false })
      else this.touch(mr.iid)
    }
  }

  #turn(iid: number, state: StateEvent['state'], fields: Partial<Mr>, by: string, at: number): void {
    const mr = this.one(iid)
    Object.assign(mr, fields)
    mr.states.push({ id: this.world.nextId('state'), user: this.world.user(by), at, state })
    this.touch(iid, { at })
  }

  #keep(sha: string | undefined): void {
    if (sha !== undefined) this.kept.add(sha)
  }

  #user(name: string | null | undefined): User | null {
    return name === null ? null : this.world.user(name ?? 'author')
  }

  #mrOfNote(id: number): Mr {
    for (const mr of this.mrs.values()) if (mr.notes.some((note) => note.id === id)) return mr
    throw new Error(`there is no note ${id}`)
  }
}

function noteOf(mr: Mr, id: number): Note {
  const note = mr.notes.find((one) => one.id === id)
  if (note === undefined) throw new Error(`there is no note ${id}`)
  return note
}
