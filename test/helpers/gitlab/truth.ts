import type { Signature } from './history.ts'
import type { Project } from './project.ts'

export interface Truth {
  /** Reachable from branches and tags. */
  commits: Map<
    string,
    { sha: string; parents: string[]; author: Signature; committer: Signature; message: string }
  >
  /** Full ref name → commit; annotated tags peeled, tags of anything but a commit left out. */
  refs: Map<string, string>
  mrs: Map<number, MrTruth>
  reviews: Map<number, ReviewTruth>
}

/** Times are milliseconds since 1970. */
export interface MrTruth {
  iid: number
  sourceMrId: number
  status: 'open' | 'closed' | 'merged' | 'locked'
  title: string
  description: string | null
  author: string | null
  sourceBranch: string
  targetBranch: string
  headSha: string | null
  mergeCommitSha: string | null
  draft: boolean
  url: string
  userNotesCount: number
  createdAt: number
  updatedAt: number
  mergedAt: number | null
  closedAt: number | null
}

/** What can be seen of a review: `note:<id>`, `state:<id>`, `approval:<user id>`. */
export interface ReviewTruth {
  notes: string[]
  states: string[]
  /** As they stand, of a closed one too: a source that asks only open ones keeps what it last saw. */
  approvals: string[]
  /** Body of each note by its id. */
  bodies: Map<string, string>
}

/** What must be stored after a quiet sync. `raw` overlays are not in it. */
export function truthOf(project: Project): Truth {
  const refs = new Map<string, string>()
  for (const [name, sha] of project.branches) refs.set(`refs/heads/${name}`, sha)
  for (const [name, { sha }] of project.tags) if (sha !== null) refs.set(`refs/tags/${name}`, sha)
  const commits: Truth['commits'] = new Map()
  for (const sha of project.history.reachable(refs.values())) {
    const commit = project.commitOf(sha)
    if (commit === undefined) continue
    const { parents, author, committer, message } = commit
    commits.set(sha, { sha, parents, author, committer, message })
  }
  const mrs: Truth['mrs'] = new Map()
  const reviews: Truth['reviews'] = new Map()
  for (const mr of [...project.mrs.values()].sort((a, b) => a.iid - b.iid)) {
    mrs.set(mr.iid, {
      iid: mr.iid,
      sourceMrId: mr.id,
      status: mr.state === 'opened' ? 'open' : mr.state,
      title: mr.draft ? `Draft: ${mr.title}` : mr.title,
      description: mr.description,
      author: mr.author?.username ?? null,
      sourceBranch: mr.source,
      targetBranch: mr.target,
      headSha: mr.sha,
      mergeCommitSha: mr.mergeCommitSha,
      draft: mr.draft,
      url: `${project.webUrl}/-/merge_requests/${mr.iid}`,
      userNotesCount: mr.notes.filter((note) => !note.system).length,
      createdAt: mr.createdAt,
      updatedAt: mr.updatedAt,
      mergedAt: mr.mergedAt,
      closedAt: mr.closedAt,
    })
    const seen = mr.notes.filter((note) => !note.hidden)
    reviews.set(mr.iid, {
      notes: seen.map(({ id }) => `note:${id}`),
      states: mr.states.map(({ id }) => `state:${id}`),
      approvals: mr.approvals.map(({ user }) => `approval:${user.id}`),
      bodies: new Map(seen.map(({ id, body }) => [`note:${id}`, body])),
    })
  }
  return { commits, refs, mrs, reviews }
}
