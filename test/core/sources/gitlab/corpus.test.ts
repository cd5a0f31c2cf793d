import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import type { Commit, MergeRequest, ReviewEvent } from '../../../../src/core/domain/facts.ts'
import { commitOf } from '../../../../src/core/sources/gitlab/records/commit.ts'
import { type Change, changeOf } from '../../../../src/core/sources/gitlab/records/diff.ts'
import { mergeRequestOf } from '../../../../src/core/sources/gitlab/records/mr.ts'
import { type Project, projectOf } from '../../../../src/core/sources/gitlab/records/project.ts'
import {
  approvalEventsOf,
  noteEventsOf,
  stateEventOf,
} from '../../../../src/core/sources/gitlab/records/review.ts'

const CORPUS = join(import.meta.dirname, '../../../../../shared/corpus')
const isHere = existsSync(CORPUS)

/** Folders with answers of GitLab's API, as files of JSON; webhooks have a form of their own. */
const RECORDED = [
  'danger-js-gitlab',
  'danger-ruby-gitlab',
  'gitlab4j',
  'glab-cli',
  'go-gitlab',
  'narkoz-gitlab',
]
const WEBHOOKS = /event|webhook|hook|payload/

type Json = { [key: string]: unknown }
const has = (o: Json, ...keys: string[]): boolean => keys.every((key) => key in o)

/** What each kind of record is known by, wherever in a file it stands. */
const KINDS: Record<string, { is: (o: Json) => boolean; read: (o: Json) => unknown }> = {
  commits: { is: (o) => has(o, 'short_id', 'author_name'), read: commitOf },
  mrs: { is: (o) => has(o, 'source_branch', 'target_branch', 'title'), read: mergeRequestOf },
  discussions: { is: (o) => has(o, 'individual_note'), read: noteEventsOf },
  notes: {
    is: (o) => has(o, 'author', 'system') && (has(o, 'body') || has(o, 'noteable_id')),
    read: (o) => noteEventsOf({ notes: [o] }),
  },
  states: { is: (o) => has(o, 'resource_type', 'state'), read: stateEventOf },
  approvals: { is: (o) => has(o, 'approved_by') && !has(o, 'rule_type'), read: approvalEventsOf },
  diffs: { is: (o) => has(o, 'new_path', 'diff'), read: changeOf },
  projects: { is: (o) => has(o, 'path_with_namespace', 'default_branch'), read: projectOf },
}

interface Found {
  file: string
  made: unknown
}

describe.skipIf(!isHere)(`recorded answers${isHere ? '' : ' (../shared/corpus is not here)'}`, () => {
  const read: Record<string, Found[]> = {}
  const refused: Record<string, string[]> = {}

  if (isHere)
    for (const folder of RECORDED)
      for (const name of readdirSync(join(CORPUS, folder)).filter((n) => n.endsWith('.json')))
        if (!WEBHOOKS.test(name) || name.includes('state_event')) collect(`${folder}/${name}`)

  function collect(file: string): void {
    const pending: unknown[] = [bodyOf(readFileSync(join(CORPUS, file), 'utf8'))]
    for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
      if (typeof value !== 'object' || value === null) continue
      pending.push(...Object.values(value))
      if (!Array.isArray(value)) map(file, value as Json)
    }
  }

  function map(file: string, value: Json): void {
    for (const [kind, { is, read: reader }] of Object.entries(KINDS)) {
      if (!is(value)) continue
      try {
        const found = read[kind] ?? []
        read[kind] = found
        found.push({ file, made: reader(value) })
      } catch (error) {
        if (!(error instanceof SyncError)) throw error
        const why = refused[kind] ?? []
        refused[kind] = why
        why.push(`${file}: ${error.message}`)
      }
    }
  }

  test('every record of the API as it is now maps; merge requests of the one before had no iid', () => {
    const count = (of: Record<string, unknown[]>) =>
      Object.fromEntries(Object.entries(of).map(([kind, all]) => [kind, all.length]))
    expect(count(read)).toEqual({
      commits: 45,
      mrs: 28,
      discussions: 17,
      notes: 52,
      states: 6,
      approvals: 4,
      diffs: 20,
      projects: 5,
    })
    expect(count(refused)).toEqual({ mrs: 7 })
    for (const why of refused.mrs ?? [])
      expect(why).toMatch(/^narkoz-gitlab\/\w+\.json: merge request: iid is missing$/)
  })

  test('nothing had to be cleaned but dates that are not there and two ids that are none', () => {
    const named = Object.values(read)
      .flat()
      .flatMap(({ made }) => (Array.isArray(made) ? made : [made]) as { sanitized?: string[] }[])
      .flatMap(({ sanitized = [] }) => sanitized)
    expect(tallied(named)).toEqual({
      'author.date': 33,
      'committer.date': 1,
      merge_commit_sha: 2,
      squash_commit_sha: 2,
    })
  })

  test('the types of all notes', () => {
    const events = (read.notes ?? []).flatMap(({ made }) => made as ReviewEvent[])
    expect(tallied(events.map((event) => event.type))).toEqual({
      approve: 2,
      assign: 2,
      code_comment: 7,
      comment: 17,
      label: 4,
      mention: 8,
      merge: 1,
      milestone: 1,
      push: 9,
      resolve: 1,
    })
  })

  const from = <T>(kind: string, file: string): T[] =>
    (read[kind] ?? []).filter((found) => found.file === file).flatMap(({ made }) => made as T[])

  test('the merge request of gitlab-foss', () => {
    const [mr] = from<MergeRequest>('mrs', 'danger-js-gitlab/getMergeRequestInfo.json')
    expect(mr).toMatchObject({
      iid: 27117,
      sourceMrId: 27253868,
      status: 'merged',
      title: 'Stable reviewer roulette',
      author: 'smcgivern',
      sourceBranch: 'stable-reviewer-roulette',
      targetBranch: 'master',
      draft: false,
      createdAt: Date.parse('2019-04-08T10:59:38.140Z'),
      mergedAt: Date.parse('2019-04-09T13:57:11.931Z'),
      closedAt: null,
      meta: {
        merged_by: 'dbalexandre',
        assignees: ['dbalexandre'],
        upvotes: 3,
        author_name: 'Sean McGivern',
      },
      sanitized: [],
    })
    const approvals = from<ReviewEvent>('approvals', 'danger-js-gitlab/getMergeRequestApprovals.json')
    expect(approvals.map(({ id, reviewer, at }) => [id, reviewer, at])).toEqual([
      ['approval:171554', 'reprazent', null],
      ['approval:283999', 'dbalexandre', null],
    ])
  })

  test('a note on code keeps its place', () => {
    const notes = from<ReviewEvent>('discussions', 'gitlab4j/merge-request-discussions.json')
    expect(notes.map(({ id, type }) => [id, type])).toEqual([
      ['note:1128', 'code_comment'],
      ['note:1128', 'comment'],
      ['note:1126', 'comment'],
      ['note:1129', 'comment'],
    ])
    expect(notes[0]?.payload.position).toEqual({
      type: 'text',
      base_sha: 'b5d6e7b1613fca24d250fa8e5bc7bcc3dd6002ef',
      start_sha: '7c9c2ead8a320fb7ba0b4e234bd9529a2614e306',
      head_sha: '4803c71e6b1833ca72b8b26ef2ecd5adc8a38031',
      old_path: 'package.json',
      new_path: 'package.json',
      old_line: 27,
      new_line: 27,
      range_start: { type: 'new', new_line: 10 },
      range_end: { type: 'old', old_line: 11, new_line: 11 },
    })
  })

  test('state events, lines of a diff, a project', () => {
    expect(
      from<ReviewEvent>('states', 'narkoz-gitlab/mr_resource_state_events.json').map((e) => e.type),
    ).toEqual(['close', 'open'])
    const [change] = from<Change>('diffs', 'danger-js-gitlab/getMergeRequestDiffs.json')
    expect(change?.paths[0]).toMatchObject({ action: 'M', additions: 17, deletions: 4 })
    const [project] = from<Project>('projects', 'gitlab4j/project.json')
    expect(project).toMatchObject({ id: 3, path: 'diaspora/diaspora-project-site', defaultBranch: 'master' })
  })
})

describe.skipIf(!isHere)(`DevLake's rows${isHere ? '' : ' (../shared/corpus is not here)'}`, () => {
  const raw = (table: string) => rows(`_raw_gitlab_api_${table}`).map((row) => JSON.parse(row.data ?? ''))

  test('18 merge requests are what DevLake made of them', () => {
    const ours = raw('merge_requests').map(mergeRequestOf)
    const theirs = rows('snapshot_tool_gitlab_merge_requests')
    expect(ours.length).toBe(18)
    expect(theirs.length).toBe(18)
    for (const mr of ours) {
      const row = theirs.find((r) => r.iid === String(mr.iid)) ?? {}
      const at = (column: string) => (row[column] ? Date.parse(row[column]) : null)
      expect(mr.sanitized).toEqual([])
      expect({
        gitlab_id: String(mr.sourceMrId),
        state: mr.status === 'open' ? 'opened' : mr.status,
        title: mr.title,
        description: mr.description,
        web_url: mr.url,
        user_notes_count: String(mr.userNotesCount),
        work_in_progress: mr.draft ? '1' : '0',
        source_branch: mr.sourceBranch,
        target_branch: mr.targetBranch,
        merge_commit_sha: mr.mergeCommitSha ?? '',
        diff_head_sha: mr.headSha,
        author_username: mr.author,
        author_user_id: String(mr.meta.author_id),
        merged_by_username: mr.meta.merged_by ?? '',
        source_project_id: String(mr.meta.source_project_id ?? 0),
      }).toEqual(Object.fromEntries(COMPARED.map((column) => [column, row[column]])))
      expect([mr.createdAt, mr.updatedAt, mr.mergedAt, mr.closedAt]).toEqual([
        at('gitlab_created_at'),
        at('gitlab_updated_at'),
        at('merged_at'),
        at('closed_at'),
      ])
    }
    expect(new Set(ours.map((mr) => mr.digest)).size).toBe(18)
  })

  test('26 notes, of which GitLab wrote 22 itself: none is of a type nobody knows', () => {
    const ours = raw('merge_request_notes').flatMap((note) => noteEventsOf({ notes: [note] }))
    expect(tallied(ours.map((event) => event.type))).toEqual({
      approve: 5,
      assign: 4,
      branch: 1,
      comment: 4,
      mention: 2,
      merge: 2,
      push: 6,
      ready: 1,
      unapprove: 1,
    })
    for (const row of rows('snapshot_tool_gitlab_mr_notes')) {
      const event = ours.find(({ id }) => id === `note:${row.gitlab_id}`)
      expect(event).toMatchObject({
        reviewer: row.author_username,
        body: row.body,
        at: Date.parse(row.gitlab_created_at ?? ''),
        payload: { noteable_iid: Number(row.merge_request_iid), system: row.is_system === '1' },
        sanitized: [],
      })
    }
  })

  test('37 commits of merge requests', () => {
    const ours = raw('merge_request_commits').map(commitOf)
    expect(ours.length).toBe(37)
    for (const commit of ours) expect(commit).toMatchObject({ tier: 'none', sanitized: [] })
    expect(ours[0]).toMatchObject({
      sha: 'ad25fcda15e310a7eb34b3e38ff9b962b54f0e03',
      message: 'add more info to readme\n',
      author: {
        name: 'emilie',
        email: 'emilie.burke@gmail.com',
        epochSeconds: 1_561_719_832,
        offsetMinutes: 0,
      },
    })
  })
})

const COMPARED = [
  'gitlab_id',
  'state',
  'title',
  'description',
  'web_url',
  'user_notes_count',
  'work_in_progress',
  'source_branch',
  'target_branch',
  'merge_commit_sha',
  'diff_head_sha',
  'author_username',
  'author_user_id',
  'merged_by_username',
  'source_project_id',
]

test.skipIf(!isHere)(`3,000 commits${isHere ? '' : ' (../shared/corpus is not here)'}`, () => {
  const folder = join(CORPUS, 'gitlab-commits-derived')
  const records = readdirSync(folder)
    .sort()
    .flatMap((page) => JSON.parse(readFileSync(join(folder, page), 'utf8')) as Json[])
  const commits = records.map(commitOf)

  expect(new Set(commits.map((commit) => commit.sha)).size).toBe(3000)
  for (const [i, commit] of commits.entries()) {
    const record = records[i] as { [key: string]: string }
    const person = (who: string, date: string): Commit['author'] => ({
      name: (record[`${who}_name`] ?? '').trim(),
      email: (record[`${who}_email`] ?? '').trim(),
      epochSeconds: Date.parse(record[date] ?? '') / 1000,
      offsetMinutes: minutesOf(record[date] ?? ''),
    })
    expect(commit).toEqual({
      sha: record.id,
      parents: record.parent_ids,
      author: person('author', 'authored_date'),
      committer: person('committer', 'committed_date'),
      message: record.message,
      tier: 'none',
      degraded: null,
      paths: null,
      pathCount: null,
      additions: null,
      deletions: null,
      patch: null,
      sanitized: [],
    })
  }
})

function minutesOf(date: string): number {
  const [, sign = '', hours, minutes] = /([+-])(\d\d):(\d\d)$/.exec(date) ?? []
  return sign === '' ? 0 : Number(`${sign}${Number(hours) * 60 + Number(minutes)}`) + 0
}

function tallied(words: string[]): Record<string, number> {
  const tally: Record<string, number> = {}
  for (const word of words.sort()) tally[word] = (tally[word] ?? 0) + 1
  return tally
}

function rows(table: string): { [column: string]: string }[] {
  const text = readFileSync(join(CORPUS, 'devlake-gitlab-raw', `${table}.csv`), 'utf8')
  const lines: string[][] = [[]]
  // A field in quotes, or without; then a comma, a newline or the end.
  for (const [, quoted, plain = '', end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    lines.at(-1)?.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'))
    if (end !== ',' && end !== '') lines.push([])
  }
  const [names = [], ...records] = lines.filter((line) => line.length > 1)
  return records.map((record) => Object.fromEntries(names.map((name, i) => [name, record[i] ?? ''])))
}

/** Bare JSON, or as `curl -i` prints it. */
function bodyOf(text: string): unknown {
  const body = text.startsWith('HTTP/') ? text.slice(text.search(/\r?\n\r?\n/)) : text
  return JSON.parse(body)
}
