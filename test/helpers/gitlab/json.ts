import { type ChangedFile, type GraphCommit, offset } from './history.ts'
import type { Project } from './project.ts'
import type { Mr, Note, StateEvent } from './reviews.ts'
import type { User } from './world.ts'

/** Answers as GitLab writes them, ready as text: rows are written once and joined to pages. */

const iso = (ms: number): string => new Date(ms).toISOString()
const isoOrNull = (ms: number | null): string | null => (ms === null ? null : iso(ms))

/** With the committer's own offset and milliseconds, as Ruby's xmlschema(3) has it. */
export function gitDate(epochSeconds: number, offsetMinutes: number): string {
  const local = new Date((epochSeconds + offsetMinutes * 60) * 1000)
  if (Number.isNaN(local.getTime())) return '1970-01-01T00:00:00.000+00:00'
  return local.toISOString().replace(/^\+0*/, '').replace('Z', offset(offsetMinutes, ':'))
}

export function filesOf(commit: GraphCommit): ChangedFile[] {
  return typeof commit.files === 'function' ? commit.files() : commit.files
}

export function commitJson(project: Project, sha: string): string {
  let text = project.commitJson.get(sha)
  if (text === undefined) {
    text = JSON.stringify(commitRow(project, project.commitOf(sha) as GraphCommit))
    project.commitJson.set(sha, text)
  }
  return text
}

/** Of a merge, against its first parent: GitLab does not leave merges out as `git log --numstat` does. */
export function withStats(project: Project, sha: string): string {
  const files = filesOf(project.commitOf(sha) as GraphCommit)
  const additions = files.reduce((sum, file) => sum + file.additions, 0)
  const deletions = files.reduce((sum, file) => sum + file.deletions, 0)
  const stats = JSON.stringify({ additions, deletions, total: additions + deletions })
  return `${commitJson(project, sha).slice(0, -1)},"stats":${stats}}`
}

function commitRow(project: Project, commit: GraphCommit): object {
  const { sha, author, committer, message } = commit
  const committed = gitDate(committer.epochSeconds, committer.offsetMinutes)
  return {
    id: sha,
    short_id: sha.slice(0, 8),
    created_at: committed,
    parent_ids: commit.parents,
    title: message.trim() === '' ? '--no commit message' : message.split(/[\r\n]/, 1)[0],
    message,
    author_name: author.name,
    author_email: author.email,
    authored_date: gitDate(author.epochSeconds, author.offsetMinutes),
    committer_name: committer.name,
    committer_email: committer.email,
    committed_date: committed,
    trailers: {},
    extended_trailers: {},
    web_url: `${project.webUrl}/-/commit/${sha}`,
    ...commit.raw,
  }
}

export function diffJson(file: ChangedFile): string {
  return JSON.stringify({
    diff: file.diff,
    collapsed: false,
    too_large: false,
    new_path: file.path,
    old_path: file.oldPath ?? file.path,
    a_mode: file.status === 'added' ? '0' : '100644',
    b_mode: file.status === 'deleted' ? '0' : '100644',
    new_file: file.status === 'added',
    renamed_file: file.status === 'renamed',
    deleted_file: file.status === 'deleted',
    generated_file: null,
  })
}

export function branchJson(project: Project, name: string, merged: boolean): string {
  const isDefault = name === project.defaultBranch
  const row = JSON.stringify({
    name,
    merged,
    protected: isDefault,
    developers_can_push: false,
    developers_can_merge: false,
    can_push: !isDefault,
    default: isDefault,
    web_url: `${project.webUrl}/-/tree/${encodeURIComponent(name)}`,
  })
  return `${row.slice(0, -1)},"commit":${commitJson(project, project.branches.get(name) as string)}}`
}

export function tagJson(project: Project, name: string): string {
  const tag = project.tags.get(name) as { target: string; sha: string | null; message: string }
  const row = JSON.stringify({
    name,
    message: tag.message,
    target: tag.target,
    release: null,
    protected: false,
  })
  return `${row.slice(0, -1)},"commit":${tag.sha === null ? 'null' : commitJson(project, tag.sha)}}`
}

export function projectJson(project: Project, pathInApi: string): string {
  const { path, webUrl, repositoryAccess, mergeRequestsAccess } = project
  const empty = project.branches.size === 0
  const name = path.slice(path.lastIndexOf('/') + 1)
  const space = path.slice(0, Math.max(0, path.lastIndexOf('/')))
  const updated = [...project.mrs.values()].reduce((last, mr) => Math.max(last, mr.updatedAt), 0)
  return JSON.stringify({
    id: project.id,
    description: null,
    name,
    name_with_namespace: path.split('/').join(' / '),
    path: name,
    path_with_namespace: path,
    created_at: iso(0),
    default_branch: empty ? null : project.defaultBranch,
    tag_list: [],
    topics: [],
    ssh_url_to_repo: `git@gitlab.invalid:${path}.git`,
    http_url_to_repo: `${webUrl}.git`,
    web_url: webUrl,
    readme_url: null,
    forks_count: 0,
    avatar_url: null,
    star_count: 0,
    last_activity_at: iso(updated),
    visibility: project.visibility,
    namespace: { id: 1, name: space, path: space, kind: 'group', full_path: space, parent_id: null },
    _links: { self: `${project.world.url}${pathInApi}` },
    packages_enabled: true,
    empty_repo: empty,
    archived: project.archived,
    marked_for_deletion_at: project.markedForDeletionOn,
    marked_for_deletion_on: project.markedForDeletionOn,
    issues_enabled: true,
    merge_requests_enabled: mergeRequestsAccess !== 'disabled',
    repository_access_level: repositoryAccess,
    merge_requests_access_level: mergeRequestsAccess,
    issues_access_level: 'enabled',
  })
}

function userRow(project: Project, user: User | null): object | null {
  if (user === null) return null
  const { id, username, name } = user
  return {
    id,
    username,
    name,
    state: 'active',
    locked: false,
    avatar_url: null,
    web_url: `${project.world.url}/${username}`,
  }
}

export function mrJson(project: Project, mr: Mr): string {
  mr.json ??= JSON.stringify(mrRow(project, mr))
  return mr.json
}

/** What only the single merge request has. */
export function oneMrJson(project: Project, mr: Mr): string {
  return JSON.stringify({
    ...mrRow(project, mr),
    subscribed: false,
    changes_count: '1',
    latest_build_started_at: null,
    latest_build_finished_at: null,
    first_deployed_to_production_at: null,
    pipeline: null,
    head_pipeline: null,
    diff_refs: mr.sha === null ? null : { base_sha: null, head_sha: mr.sha, start_sha: null },
    merge_error: null,
    user: { can_merge: false },
  })
}

function mrRow(project: Project, mr: Mr): object {
  const people = (users: User[]): (object | null)[] => users.map((user) => userRow(project, user))
  const merger = userRow(project, mr.mergedBy)
  return {
    id: mr.id,
    iid: mr.iid,
    project_id: project.id,
    title: mr.draft ? `Draft: ${mr.title}` : mr.title,
    description: mr.description,
    state: mr.state,
    created_at: iso(mr.createdAt),
    updated_at: iso(mr.updatedAt),
    merged_by: merger,
    merge_user: merger,
    merged_at: isoOrNull(mr.mergedAt),
    closed_by: userRow(project, mr.closedBy),
    closed_at: isoOrNull(mr.closedAt),
    target_branch: mr.target,
    source_branch: mr.source,
    user_notes_count: mr.notes.filter((note) => !note.system).length,
    upvotes: 0,
    downvotes: 0,
    author: userRow(project, mr.author),
    assignees: people(mr.assignees),
    assignee: people(mr.assignees)[0] ?? null,
    reviewers: people(mr.reviewers),
    source_project_id: project.id,
    target_project_id: project.id,
    labels: mr.labels,
    draft: mr.draft,
    imported: false,
    imported_from: 'none',
    work_in_progress: mr.draft,
    milestone: null,
    merge_when_pipeline_succeeds: false,
    merge_status: 'can_be_merged',
    detailed_merge_status: 'mergeable',
    merge_after: null,
    sha: mr.sha,
    merge_commit_sha: mr.mergeCommitSha,
    squash_commit_sha: null,
    discussion_locked: null,
    should_remove_source_branch: null,
    force_remove_source_branch: true,
    prepared_at: iso(mr.createdAt),
    reference: `!${mr.iid}`,
    references: { short: `!${mr.iid}`, relative: `!${mr.iid}`, full: `${project.path}!${mr.iid}` },
    web_url: `${project.webUrl}/-/merge_requests/${mr.iid}`,
    time_stats: {
      time_estimate: 0,
      total_time_spent: 0,
      human_time_estimate: null,
      human_total_time_spent: null,
    },
    squash: false,
    squash_on_merge: false,
    task_completion_status: { count: 0, completed_count: 0 },
    has_conflicts: false,
    blocking_discussions_resolved: true,
    approvals_before_merge: null,
    ...mr.raw,
  }
}

export function noteJson(project: Project, mr: Mr, note: Note): string {
  const position = note.position && {
    base_sha: mr.sha,
    start_sha: mr.sha,
    head_sha: mr.sha,
    old_path: note.position.oldPath ?? note.position.newPath,
    new_path: note.position.newPath,
    position_type: 'text',
    old_line: note.position.oldLine ?? null,
    new_line: note.position.newLine,
    line_range: null,
  }
  return JSON.stringify({
    id: note.id,
    type: note.type,
    body: note.body,
    attachment: null,
    author: userRow(project, note.author),
    created_at: iso(note.createdAt),
    updated_at: iso(note.updatedAt),
    system: note.system,
    noteable_id: mr.id,
    noteable_type: 'MergeRequest',
    project_id: project.id,
    ...(position === null ? {} : { commit_id: null, position }),
    resolvable: note.type !== null,
    ...(note.type === null ? {} : { resolved: note.resolved, resolved_by: null, resolved_at: null }),
    confidential: false,
    internal: false,
    imported: false,
    imported_from: 'none',
    noteable_iid: mr.iid,
    commands_changes: {},
    ...note.raw,
  })
}

/** Without what may not be read; null when nothing is left. */
export function discussionJson(project: Project, mr: Mr, notes: Note[]): string | null {
  const seen = notes.filter((note) => !note.hidden)
  if (seen.length === 0) return null
  const { discussion, type } = notes[0] as Note
  const rows = seen.map((note) => noteJson(project, mr, note)).join(',')
  return `{"id":"${discussion}","individual_note":${type === null},"notes":[${rows}]}`
}

export function approvalsJson(project: Project, mr: Mr): string {
  return JSON.stringify({
    id: mr.id,
    iid: mr.iid,
    project_id: project.id,
    title: mr.title,
    description: mr.description,
    state: mr.state,
    created_at: iso(mr.createdAt),
    updated_at: iso(mr.updatedAt),
    merge_status: 'can_be_merged',
    approved: mr.approvals.length > 0,
    approvals_required: 0,
    approvals_left: 0,
    require_password_to_approve: false,
    approved_by: mr.approvals.map(({ user, at }) => ({ user: userRow(project, user), approved_at: iso(at) })),
    suggested_approvers: [],
    approvers: [],
    approver_groups: [],
    user_has_approved: false,
    user_can_approve: false,
    approval_rules_left: [],
    has_approval_rules: false,
    merge_request_approvers_available: true,
    multiple_approval_rules_available: true,
  })
}

export function stateEventJson(project: Project, mr: Mr, event: StateEvent): string {
  return JSON.stringify({
    id: event.id,
    user: userRow(project, event.user),
    created_at: iso(event.at),
    resource_type: 'MergeRequest',
    resource_id: mr.id,
    state: event.state,
  })
}
