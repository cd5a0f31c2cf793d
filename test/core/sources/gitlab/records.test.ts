import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import { parseCommit } from '../../../../src/core/sources/git/commit.ts'
import { refName } from '../../../../src/core/sources/git/refs.ts'
import { commitOf } from '../../../../src/core/sources/gitlab/records/commit.ts'
import { changeOf } from '../../../../src/core/sources/gitlab/records/diff.ts'
import { Fields } from '../../../../src/core/sources/gitlab/records/fields.ts'
import { mergeRequestOf } from '../../../../src/core/sources/gitlab/records/mr.ts'
import { projectOf } from '../../../../src/core/sources/gitlab/records/project.ts'
import { branchOf, tagOf } from '../../../../src/core/sources/gitlab/records/ref.ts'
import {
  approvalEventsOf,
  noteEventsOf,
  stateEventOf,
} from '../../../../src/core/sources/gitlab/records/review.ts'
import { systemNoteType } from '../../../../src/core/sources/gitlab/records/system-note.ts'
import { parseMoment } from '../../../../src/core/sources/moment.ts'
import { freshDatabase, servers, type TestDatabase } from '../../../helpers/database.ts'

const SHA = 'ab'.repeat(20)
const AT = '2024-02-29T12:00:00.250Z'
const MS = Date.UTC(2024, 1, 29, 12, 0, 0, 250)

const COMMIT = {
  id: SHA,
  parent_ids: ['cd'.repeat(20)],
  title: 'A title',
  message: 'A title\n\nA body\n',
  author_name: 'A U Thor',
  author_email: 'a@x',
  authored_date: '2019-04-08T11:44:57.000+01:00',
  committer_name: 'C O Mitter',
  committer_email: 'c@x',
  committed_date: '2019-04-08T11:56:17.000-03:30',
}
const MR = { id: 7, iid: 3, state: 'opened', title: 't', created_at: AT, updated_at: AT }
const NOTE = { id: 1, body: 'b', author: { id: 5, username: 'u', name: 'U' }, created_at: AT, system: false }
const PROJECT = { id: 9, path_with_namespace: 'g/p', default_branch: 'main', web_url: 'https://x/g/p' }
const DIFF = { old_path: 'f', new_path: 'f', diff: '@@ -1 +1 @@\n-a\n+b\n' }

const note = (more: object) =>
  noteEventsOf({ id: 'd', individual_note: true, notes: [{ ...NOTE, ...more }] })[0]!

/** JSON.parse makes keys an object literal cannot hold. */
const json = (text: string): unknown => JSON.parse(text)

describe('a moment', () => {
  test.each<[why: string, text: string, ms: number | null | 'not one', minutes?: number]>([
    ['UTC', '2024-02-29T12:00:00Z', MS - 250, 0],
    ['milliseconds', AT, MS, 0],
    ['finer parts are cut, not rounded', '2024-02-29T12:00:00.250999Z', MS, 0],
    ['east', '2024-02-29T14:30:00.250+02:30', MS, 150],
    ['west of noon', '2024-02-29T08:30:00.250-03:30', MS, -210],
    ['an offset without a colon', '2024-02-29T14:30:00.250+0230', MS, 150],
    ['minus nothing', '2024-02-29T12:00:00.250-00:00', MS, 0],
    ['1970 is not 19 hundred and 1970', '0070-01-01T00:00:00Z', -59_958_144_000_000, 0],
    ['before 1970', '1969-12-31T23:59:59.500Z', -500, 0],
    ['2106', '2106-02-07T06:28:15Z', 4_294_967_295_000, 0],
    ['the 30th of February', '2024-02-30T00:00:00Z', null, 0],
    ['the 29th of February of another year', '2023-02-29T00:00:00Z', null, 0],
    ['month 13', '2024-13-01T00:00:00+01:00', null, 60],
    ['hour 24', '2024-01-01T24:00:00Z', null, 0],
    ['second 60', '2016-12-31T23:59:60Z', null, 0],
    ["Gitaly's answer to a date git cannot read", '292277024627-12-06T15:30:07.000+00:00', null, 0],
    ['the last there is', '275760-09-13T00:00:00Z', 8_640_000_000_000_000, 0],
    ['a millisecond later', '275760-09-13T00:00:00.001Z', null, 0],
    ['the first day of timestamptz', '-4713-11-24T00:00:00Z', -210_866_803_200_000, 0],
    ['the day before', '-4713-11-23T23:59:59.999Z', null, 0],
    ['no zone', '2024-02-29T12:00:00', 'not one'],
    ['the form of webhooks', '2015-05-17 18:08:09 UTC', 'not one'],
    ['a day', '2024-02-29', 'not one'],
    ['something in front', ` ${AT}`, 'not one'],
    ['something behind', `${AT}\n`, 'not one'],
    ['words', 'yesterday', 'not one'],
    ['nothing', '', 'not one'],
  ])('%s', (_why, text, ms, offsetMinutes) => {
    expect(parseMoment(text)).toEqual(ms === 'not one' ? null : { ms, offsetMinutes })
  })
})

describe('a field', () => {
  test.each<[why: string, value: unknown, read: (f: Fields) => unknown, is: unknown, named: string[]]>([
    ['text', 'x', (f) => f.text('k'), 'x', []],
    ['empty text is text', '', (f) => f.text('k'), '', []],
    ['null', null, (f) => f.text('k'), null, []],
    ['a number for text', 1, (f) => f.text('k'), null, ['k']],
    ['a list for text', ['x'], (f) => f.text('k'), null, ['k']],
    ['NUL', 'a\0b', (f) => f.text('k'), 'a\uFFFDb', ['k']],
    ['half a pair', 'a\ud83d', (f) => f.text('k'), 'a\uFFFD', ['k']],
    ['escapes are data', '\u001b[31m\u202e', (f) => f.text('k'), '\u001b[31m\u202e', []],
    ['too long', 'x'.repeat(5000), (f) => f.text('k'), 'x'.repeat(4096), ['k']],
    ['a pair at the cut', '😀'.repeat(5), (f) => f.text('k', 3), '😀\uFFFD', ['k']],
    ['a number', 5, (f) => f.integer('k'), 5, []],
    ['minus zero', -0, (f) => Object.is(f.integer('k'), 0), true, []],
    ['a negative number', -1, (f) => f.integer('k'), null, ['k']],
    ['a fraction', 1.5, (f) => f.integer('k'), null, ['k']],
    ['2^53', 2 ** 53, (f) => f.integer('k'), null, ['k']],
    ['1e308', 1e308, (f) => f.integer('k'), null, ['k']],
    ['digits in quotes', '5', (f) => f.integer('k'), null, ['k']],
    ['more than PostgreSQL counts', 2 ** 31, (f) => f.integer('k', 2 ** 31 - 1), null, ['k']],
    ['false is an answer', false, (f) => f.boolean('k'), false, []],
    ['"false" is none', 'false', (f) => f.boolean('k'), null, ['k']],
    ['an instant', AT, (f) => f.instant('k'), MS, []],
    ['an instant as text', '2024-02-29T13:00:00.25+01:00', (f) => f.time('k'), AT, []],
    ['an impossible instant', '2024-02-30T00:00:00Z', (f) => f.instant('k'), null, ['k']],
    ['seconds for an instant', 1_700_000_000, (f) => f.instant('k'), null, ['k']],
    ['a SHA-1', SHA, (f) => f.sha('k'), SHA, []],
    ['a SHA-256', 'ef'.repeat(32), (f) => f.sha('k'), 'ef'.repeat(32), []],
    ['a short id', 'abcdef12', (f) => f.sha('k'), null, ['k']],
    ['upper case', SHA.toUpperCase(), (f) => f.sha('k'), null, ['k']],
    ['a newline behind', `${SHA}\n`, (f) => f.sha('k'), null, ['k']],
    ['texts', ['a', 'b'], (f) => f.texts('k'), ['a', 'b'], []],
    ['other things between texts', ['a', 1, null], (f) => f.texts('k'), ['a'], ['k']],
    ['a text for texts', 'a', (f) => f.texts('k'), [], ['k']],
    ['too many', Array(1001).fill('a'), (f) => f.texts('k').length, 1000, ['k']],
    ['an object', { x: 1 }, (f) => f.within('k')?.integer('x'), 1, []],
    ['a field within', { x: 'y' }, (f) => f.within('k')?.integer('x'), null, ['k.x']],
    ['a list for an object', [{ x: 1 }], (f) => f.within('k'), null, ['k']],
    ['an object for a list', { 0: 'a', length: 1 }, (f) => f.each('k'), [], ['k']],
  ])('%s', (_why, value, read, is, named) => {
    const fields = new Fields({ k: value }, 'thing')
    expect(read(fields)).toEqual(is)
    expect(fields.sanitized).toEqual(named)
  })

  test('only what the object itself holds', () => {
    const fields = new Fields(json('{"__proto__": {"title": "inherited"}, "constructor": "own"}'), 'thing')
    expect(fields.text('title')).toBe(null)
    expect(fields.text('constructor')).toBe('own')
    expect(fields.within('toString')).toBe(null)
    expect(fields.sanitized).toEqual([])
    expect(new Fields(Object.create({ title: 'inherited' }), 'thing').text('title')).toBe(null)
    expect(new Fields(json('{"k": 1, "k": "last"}'), 'thing').text('k')).toBe('last')
  })
})

describe('what cannot be told from others is refused in one clean line', () => {
  const evil = '\u001b[2J\n\u202e'
  test.each<[says: string, read: () => unknown]>([
    ['commit: not an object', () => commitOf([COMMIT])],
    ['commit: not an object', () => commitOf(null)],
    ['commit: id is missing', () => commitOf({ ...COMMIT, id: undefined })],
    ['commit: id is not usable', () => commitOf({ ...COMMIT, id: evil })],
    ['merge request: iid is missing', () => mergeRequestOf({ id: 1, updated_at: AT })],
    ['merge request: iid is not usable', () => mergeRequestOf({ ...MR, iid: 0 })],
    ['merge request: iid is not usable', () => mergeRequestOf({ ...MR, iid: '3' })],
    ['merge request !3: id is missing', () => mergeRequestOf({ ...MR, id: null })],
    ['merge request !3: updated_at is missing', () => mergeRequestOf({ ...MR, updated_at: null })],
    ['merge request !3: updated_at is not usable', () => mergeRequestOf({ ...MR, updated_at: evil })],
    ['discussion: notes is missing', () => noteEventsOf({ id: 'd' })],
    ['discussion: notes is not usable', () => noteEventsOf({ id: 'd', notes: { 0: NOTE } })],
    ['note: id is missing', () => noteEventsOf({ notes: [{ body: evil }] })],
    ['note: not an object', () => noteEventsOf({ notes: [evil] })],
    ['state event: id is not usable', () => stateEventOf({ id: 1e308 })],
    ['approvals: approved_by is missing', () => approvalEventsOf({})],
    ['approvals: not an object', () => approvalEventsOf('Retry later')],
    ['approval: user is missing', () => approvalEventsOf({ approved_by: [{}] })],
    ['approval: user.id is missing', () => approvalEventsOf({ approved_by: [{ user: { username: evil } }] })],
    ['project: id is missing', () => projectOf({ path_with_namespace: 'g/p' })],
    ['project 9: path_with_namespace is missing', () => projectOf({ id: 9 })],
    ['branch: name is missing', () => branchOf({ commit: { id: SHA } })],
    ['branch: commit is missing', () => branchOf({ name: evil, commit: null })],
    ['branch: commit.id is not usable', () => branchOf({ name: 'b', commit: { id: SHA.slice(1) } })],
    ['tag: commit.id is missing', () => tagOf({ name: 't', commit: {} })],
    ['diff: new_path is missing', () => changeOf({ diff: '' })],
  ])('%s', (says, read) => {
    expect(read).toThrow(expect.objectContaining({ name: 'SyncError', kind: 'upstream', message: says }))
  })
})

describe('a commit', () => {
  test('is what the git source reads', () => {
    const raw =
      `tree ${SHA}\nparent ${COMMIT.parent_ids[0]}\nauthor A U Thor <a@x> 1554720297 +0100\n` +
      `committer C O Mitter <c@x> 1554737177 -0330\n\n${COMMIT.message}`
    expect(commitOf(COMMIT)).toEqual(parseCommit(SHA, Buffer.from(raw)))
  })

  test('is what the git source reads when GitLab passes a NUL on', () => {
    const raw = `author A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\na\0b`
    const who = { author_name: 'A', author_email: 'a@x', committer_name: 'A', committer_email: 'a@x' }
    const when = {
      authored_date: '1970-01-01T00:00:01.000Z',
      committed_date: '1970-01-01T00:00:01.000+00:00',
    }
    expect(commitOf({ id: SHA, parent_ids: [], message: 'a\0b', ...who, ...when })).toEqual(
      parseCommit(SHA, Buffer.from(raw)),
    )
  })

  const merge = { parent_ids: ['cd'.repeat(20), 'ef'.repeat(20)] }
  test.each<[why: string, more: object, is: object]>([
    [
      'statistics make a tier',
      { stats: { additions: 3, deletions: 0, total: 3 } },
      { tier: 'numstat', additions: 3, deletions: 0 },
    ],
    [
      'a merge has its tier and no lines',
      { ...merge, stats: { additions: 3, deletions: 1 } },
      { tier: 'numstat', additions: null, deletions: null },
    ],
    ['half of the statistics are none', { stats: { additions: 3 } }, { tier: 'none', additions: null }],
    [
      'lines PostgreSQL cannot count',
      { stats: { additions: 2 ** 31, deletions: 1 } },
      { tier: 'none', sanitized: ['additions'] },
    ],
    ['a message that ends in newlines keeps them', { message: 'm\n\n' }, { message: 'm\n\n' }],
    ['an empty message is no reason to take the title', { message: '' }, { message: '' }],
    ['no message: the title', { message: null }, { message: 'A title', sanitized: [] }],
    ['neither', { message: null, title: null }, { message: '' }],
    [
      'a long message is whole',
      { message: 'x'.repeat(100_000) },
      { message: 'x'.repeat(100_000), degraded: null },
    ],
    [
      'what GitLab says of a longer one',
      { message: 'm\n\n--commit message is too big' },
      { degraded: 'message_size' },
    ],
    [
      'created_at stands in',
      { committed_date: null, created_at: AT },
      { committer: { name: 'C O Mitter', email: 'c@x', epochSeconds: 1_709_208_000, offsetMinutes: 0 } },
    ],
    [
      'the year of a broken date',
      { authored_date: '292277024627-12-06T15:30:07.000+01:00' },
      {
        author: { name: 'A U Thor', email: 'a@x', epochSeconds: null, offsetMinutes: 60 },
        sanitized: ['author.date'],
      },
    ],
    ['no date', { authored_date: null }, { sanitized: ['author.date'] }],
    [
      'names as git trims them',
      { author_name: ' A ', author_email: ' a@x ' },
      { author: { name: 'A', email: 'a@x', epochSeconds: 1_554_720_297, offsetMinutes: 60 } },
    ],
    [
      'no names',
      { author_name: null, author_email: null },
      { author: { name: '', email: '', epochSeconds: 1_554_720_297, offsetMinutes: 60 } },
    ],
    [
      'damaged names',
      { author_name: '\ud800', committer_email: '\0' },
      { sanitized: ['author.name', 'committer.email'] },
    ],
    ['a parent that is none', { parent_ids: [SHA, 'x'] }, { parents: [SHA], sanitized: ['parents'] }],
  ])('%s', (_why, more, is) => {
    expect(commitOf({ ...COMMIT, ...more })).toMatchObject(is)
  })
})

describe('a merge request', () => {
  const person = (username: string) => ({ id: 1, username, name: 'N', avatar_url: 'https://x' })

  test('keeps what people did', () => {
    expect(
      mergeRequestOf({
        ...MR,
        state: 'merged',
        description: 'd\0',
        author: person('author'),
        assignees: [person('b'), person('a')],
        reviewers: [person('r')],
        labels: ['z', 'a'],
        milestone: { id: 1, title: '1.0', due_date: '2020-01-01' },
        merged_by: person('old'),
        merge_user: person('new'),
        merged_at: AT,
        closed_by: null,
        source_branch: 's',
        target_branch: 't',
        source_project_id: 1,
        target_project_id: 2,
        sha: SHA,
        merge_commit_sha: null,
        squash_commit_sha: SHA,
        work_in_progress: false,
        web_url: 'https://x/g/p/-/merge_requests/3',
        user_notes_count: 4,
        upvotes: 1,
        downvotes: 0,
        changes_count: '1000+',
        references: { short: '!3', full: 'g/p!3' },
        has_conflicts: true,
      }),
    ).toEqual({
      iid: 3,
      sourceMrId: 7,
      status: 'merged',
      title: 't',
      description: 'd\uFFFD',
      author: 'author',
      sourceBranch: 's',
      targetBranch: 't',
      headSha: SHA,
      mergeCommitSha: null,
      draft: false,
      url: 'https://x/g/p/-/merge_requests/3',
      userNotesCount: 4,
      createdAt: MS,
      updatedAt: MS,
      mergedAt: MS,
      closedAt: null,
      meta: {
        source_project_id: 1,
        target_project_id: 2,
        reference: 'g/p!3',
        author_id: 1,
        author_name: 'N',
        assignees: ['a', 'b'],
        reviewers: ['r'],
        labels: ['a', 'z'],
        milestone: '1.0',
        merged_by: 'new',
        squash_commit_sha: SHA,
        upvotes: 1,
        downvotes: 0,
        changes_count: '1000+',
        changes: 1000,
      },
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      sanitized: ['description'],
    })
  })

  test.each<[why: string, more: object, is: object]>([
    ['opened', { state: 'opened' }, { status: 'open', sanitized: [] }],
    ['locked', { state: 'locked' }, { status: 'locked' }],
    ['a state nobody knows', { state: 'frozen' }, { status: 'open', sanitized: ['state'] }],
    ['one that was merged', { state: 5, merged_at: AT }, { status: 'merged', sanitized: ['state'] }],
    ['one that was closed', { state: null, closed_at: AT }, { status: 'closed', sanitized: ['state'] }],
    ['a state JavaScript knows', { state: 'constructor' }, { status: 'open', sanitized: ['state'] }],
    ['draft before work in progress', { draft: true, work_in_progress: false }, { draft: true }],
    ['neither', {}, { draft: null }],
    ['no beginning', { created_at: 'x' }, { createdAt: MS, sanitized: ['created_at'] }],
    ['a title of another type', { title: { a: 1 } }, { title: '', sanitized: ['title'] }],
    ['a whole description', { description: 'x'.repeat(1_048_576) }, { description: 'x'.repeat(1_048_576) }],
    ['a count of changes in words', { changes_count: 'many' }, { meta: { changes_count: 'many' } }],
    [
      'more notes than there are',
      { user_notes_count: 2 ** 40 },
      { userNotesCount: null, sanitized: ['user_notes_count'] },
    ],
    ['an author who is gone', { author: null }, { author: null, sanitized: [] }],
    ['an author in a list', { author: [] }, { author: null, sanitized: ['author'] }],
  ])('%s', (_why, more, is) => {
    expect(mergeRequestOf({ ...MR, ...more })).toMatchObject(is)
  })

  const digest = (more: object) => mergeRequestOf({ ...MR, ...more }).digest
  test.each<[what: string, a: object, b: object]>([
    ['the order of keys', {}, Object.fromEntries(Object.entries(MR).reverse())],
    ['the order of labels', { labels: ['a', 'b'] }, { labels: ['b', 'a'] }],
    ['whether it can be merged', { merge_status: 'checking' }, { merge_status: 'can_be_merged' }],
    ['its conflicts', { has_conflicts: true }, { has_conflicts: false }],
    ['its pipeline', { head_pipeline: { id: 1 } }, { head_pipeline: null }],
    ['a portrait', { author: person('a') }, { author: { ...person('a'), avatar_url: 'https://y' } }],
  ])('is the same whatever %s', (_what, a, b) => {
    expect(digest(a)).toBe(digest(b))
  })
  test.each<[what: string, a: object, b: object]>([
    ['the update', {}, { updated_at: '2024-02-29T12:00:00.251Z' }],
    ['the title', {}, { title: 'u' }],
    ['a label', { labels: ['a'] }, { labels: ['a', 'b'] }],
    ['a vote', { upvotes: 0 }, { upvotes: 1 }],
    ['the number of notes', { user_notes_count: 1 }, { user_notes_count: 2 }],
    ['the state', {}, { state: 'closed' }],
    ['the head', { sha: SHA }, { sha: 'cd'.repeat(20) }],
  ])('is another after %s', (_what, a, b) => {
    expect(digest(a)).not.toBe(digest(b))
  })
})

describe('a review', () => {
  test.each<[body: string, type: string]>([
    ['approved this merge request', 'approve'],
    ['unapproved this merge request', 'unapprove'],
    ['requested changes', 'request_changes'],
    ['assigned to @a and unassigned @b', 'assign'],
    ['Reassigned to @a', 'assign'],
    ['unassigned @a', 'unassign'],
    ['removed assignee', 'unassign'],
    ['requested review from @a and removed review request for @b', 'reviewer_assign'],
    ['removed review request for @a', 'reviewer_unassign'],
    ['merged', 'merge'],
    ['Status changed to merged', 'merge'],
    ['closed via commit abc', 'close'],
    ['reopened', 'reopen'],
    ['mergedness', 'system'],
    ['enabled an automatic merge when the pipeline for abc succeeds', 'auto_merge'],
    ['added 1 commit\n\n<ul>', 'push'],
    ['Added 3 commits:\n\n* x', 'push'],
    ['added ~1 ~2 labels and removed ~3 label', 'label'],
    ['Added ~392754 label', 'label'],
    ['removed 1 deleted label', 'label'],
    ['changed milestone to %"11.11"', 'milestone'],
    ['removed milestone', 'milestone'],
    ['marked this merge request as **draft**', 'draft'],
    ['marked as a **Work In Progress** from abc', 'draft'],
    ['marked this merge request as **ready**', 'ready'],
    ['unmarked as a **Work In Progress**', 'ready'],
    ['changed title from **a** to **b**', 'title'],
    ['changed the description', 'description'],
    ['changed target branch from `a` to `b`', 'branch'],
    ['restored source branch `a`', 'branch'],
    ['mentioned in commit abc', 'mention'],
    ['locked the discussion in this merge request', 'lock'],
    ['unlocked this merge request', 'unlock'],
    ['resolved all threads', 'resolve'],
    ['changed this line in [version 2 of the diff](/x)', 'outdated'],
    ['picked the changes into the branch `a`', 'cherry_pick'],
    ['marked the task **x** as completed', 'task'],
    ['added 1h 5m of time spent', 'time'],
    ['changed time estimate to 2h', 'time'],
    ['hat diesen Merge Request genehmigt', 'system'],
    ['', 'system'],
    [`added ${'x'.repeat(1_000_000)} of`, 'system'],
  ])('a note of the system %j', (body, type) => {
    expect(systemNoteType(body)).toBe(type)
    expect(note({ body, system: true })?.type).toBe(type)
    expect(note({ body, system: false })?.type).toBe('comment')
  })

  test.each<[why: string, more: object, is: object]>([
    ['a comment', {}, { id: 'note:1', kind: 'note', type: 'comment', reviewer: 'u', at: MS, body: 'b' }],
    ['a comment on code', { type: 'DiffNote' }, { type: 'code_comment' }],
    [
      'a comment with a place',
      { position: { new_path: 'f', new_line: 3 } },
      { type: 'code_comment', payload: { position: { new_path: 'f', new_line: 3 } } },
    ],
    [
      'a discussion',
      {
        type: 'DiscussionNote',
        resolvable: true,
        resolved: true,
        resolved_by: { username: 'r' },
        resolved_at: AT,
      },
      { type: 'comment', payload: { resolvable: true, resolved: true, resolved_by: 'r', resolved_at: AT } },
    ],
    ['a secret of older servers', { confidential: true }, { payload: { internal: true } }],
    ['no author', { author: null }, { reviewer: null, sanitized: [] }],
    ['no date', { created_at: null }, { at: null, sanitized: [] }],
    ['an impossible date', { created_at: '2024-02-30T00:00:00Z' }, { at: null, sanitized: ['created_at'] }],
    ['a body with NUL', { body: 'a\0' }, { body: 'a\uFFFD', sanitized: ['body'] }],
    ['a whole body', { body: 'x'.repeat(1_048_576) }, { body: 'x'.repeat(1_048_576), sanitized: [] }],
    ['no body', { body: null }, { body: null }],
    ['a system that is no answer', { system: 'yes' }, { type: 'comment', sanitized: ['system'] }],
  ])('%s', (_why, more, is) => {
    expect(note(more)).toMatchObject(is)
  })

  test('keeps of a place what has a name here, however deep the rest', () => {
    const deep = json(`${'{"x":'.repeat(50_000)}1${'}'.repeat(50_000)}`)
    const position = {
      new_path: 'f',
      deep,
      line_range: { start: { type: 'new', new_line: 1, deep }, end: deep },
    }
    expect(note({ position, deep })?.payload).toEqual({
      discussion_id: 'd',
      individual_note: true,
      system: false,
      user_id: 5,
      user_name: 'U',
      position: { new_path: 'f', range_start: { type: 'new', new_line: 1 }, range_end: {} },
    })
  })

  test.each<[state: unknown, type: string]>([
    ['opened', 'open'],
    ['closed', 'close'],
    ['reopened', 'reopen'],
    ['merged', 'merge'],
    ['locked', 'system'],
    [null, 'system'],
    [['merged'], 'system'],
  ])('the state %j', (state, type) => {
    const event = stateEventOf({
      id: 4,
      user: NOTE.author,
      created_at: AT,
      resource_type: 'MergeRequest',
      state,
    })
    expect(event).toMatchObject({ id: 'state:4', kind: 'state', type, reviewer: 'u', at: MS, body: null })
  })

  test('an approval is of a user, with its time where there is one', () => {
    const approved = [{ user: NOTE.author, approved_at: AT }, { user: { id: 6, username: 'v' } }]
    expect(approvalEventsOf({ approved_by: approved })).toMatchObject([
      {
        id: 'approval:5',
        kind: 'approval',
        type: 'approval',
        reviewer: 'u',
        at: MS,
        payload: { user_id: 5 },
      },
      { id: 'approval:6', reviewer: 'v', at: null },
    ])
    expect(approvalEventsOf({ approved_by: [] })).toEqual([])
  })
})

describe('a project', () => {
  test.each<[why: string, more: object, state: string, mergeRequestsOff: boolean]>([
    ['one in use', {}, 'active', false],
    [
      'for members only',
      { repository_access_level: 'private', merge_requests_access_level: 'private' },
      'active',
      false,
    ],
    ['without merge requests', { merge_requests_access_level: 'disabled' }, 'active', true],
    ['without them, on older servers', { merge_requests_enabled: false }, 'active', true],
    ['archived', { archived: true }, 'archived', false],
    ['about to go', { archived: true, marked_for_deletion_on: '2030-01-01' }, 'deletion_scheduled', false],
    ['about to go, on older servers', { marked_for_deletion_at: '2030-01-01' }, 'deletion_scheduled', false],
    ['empty and archived', { empty_repo: true, archived: true }, 'empty', false],
    ['switched off', { repository_access_level: 'disabled', empty_repo: true }, 'repository_off', false],
    ['nonsense', { archived: 'yes', empty_repo: 1, repository_access_level: [] }, 'active', false],
  ])('%s', (_why, more, state, mergeRequestsOff) => {
    expect(projectOf({ ...PROJECT, ...more })).toEqual({
      id: 9,
      path: 'g/p',
      defaultBranch: 'main',
      state,
      mergeRequestsOff,
      webUrl: 'https://x/g/p',
    })
  })
})

describe('a ref', () => {
  const commit = { id: SHA, committed_date: AT }
  test('a branch', () => {
    expect(branchOf({ name: 'a/b', merged: true, default: true, commit })).toEqual({
      name: 'refs/heads/a/b',
      sha: SHA,
      committedAt: MS,
      isDefault: true,
    })
    expect(branchOf({ name: 'x', commit: { id: SHA } })).toMatchObject({
      isDefault: false,
      committedAt: null,
    })
  })

  test('an annotated tag is the commit it leads to, and a tag of a tree none', () => {
    expect(tagOf({ name: 'v1', target: 'cd'.repeat(20), commit })).toEqual({
      name: 'refs/tags/v1',
      sha: SHA,
      committedAt: MS,
    })
    expect(tagOf({ name: 'v1', target: 'cd'.repeat(20), commit: null })).toBe(null)
  })

  test.each<[why: string, name: string]>([
    ['plain', 'main'],
    ['of a thousand bytes', 'x'.repeat(989)],
    ['of more', 'x'.repeat(990)],
    ['of more, in three bytes each', '汉'.repeat(400)],
    ['with a replacement of its own', 'a\uFFFD'],
  ])('has the name the git source gives it: %s', (_why, name) => {
    const named = branchOf({ name, commit }).name
    expect(named).toBe(refName(Buffer.from(`refs/heads/${name}`)))
    expect(Buffer.byteLength(named)).toBeLessThanOrEqual(1000)
  })

  test('two that are cleaned to the same text stay two', () => {
    const names = ['a\0', 'a\uFFFD', 'a\ud800', 'a\ud801', 'x'.repeat(2000), 'x'.repeat(2001)]
    const named = names.map((name) => branchOf({ name, commit }).name)
    expect(new Set(named).size).toBe(names.length)
    for (const name of named) expect(unstorable(name)).toBe(null)
  })
})

describe('a diff', () => {
  const none = { additions: null, deletions: null }
  const flags = { collapsed: false, too_large: false }
  test.each<[why: string, more: object, paths: object[], unread: string | null]>([
    ['lines', {}, [{ path: 'f', action: 'M', additions: 1, deletions: 1 }], null],
    [
      'a new file',
      { new_file: true, diff: '@@ -0,0 +1,2 @@\n+a\n+b\n' },
      [{ path: 'f', action: 'A', additions: 2, deletions: 0 }],
      null,
    ],
    [
      'a deleted file',
      { deleted_file: true, diff: '@@ -1 +0,0 @@\n-a\n\\ No newline at end of file' },
      [{ path: 'f', action: 'D', additions: 0, deletions: 1 }],
      null,
    ],
    [
      'lines that look like names',
      { diff: '@@ -1 +1 @@\n--- a\n+++ b\n' },
      [{ path: 'f', action: 'M', additions: 1, deletions: 1 }],
      null,
    ],
    [
      'names before the hunk',
      { diff: '--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n' },
      [{ path: 'f', action: 'M', additions: 1, deletions: 1 }],
      null,
    ],
    [
      'a rename',
      { old_path: 'e', renamed_file: true },
      [
        { path: 'e', action: 'D', ...none },
        { path: 'f', action: 'A', ...none },
      ],
      'renamed',
    ],
    [
      'a file that became a link',
      { a_mode: '100644', b_mode: '120000' },
      [{ path: 'f', action: 'T', additions: 1, deletions: 1 }],
      null,
    ],
    [
      'a file that can be run',
      { a_mode: '100644', b_mode: '100755', diff: '', ...flags },
      [{ path: 'f', action: 'M', additions: 0, deletions: 0 }],
      null,
    ],
    [
      'a binary file',
      { diff: 'Binary files a/f and b/f differ\n' },
      [{ path: 'f', action: 'M', ...none }],
      null,
    ],
    ['collapsed', { diff: '', collapsed: true }, [{ path: 'f', action: 'M', ...none }], 'collapsed'],
    [
      'too large',
      { diff: '', collapsed: true, too_large: true },
      [{ path: 'f', action: 'M', ...none }],
      'too_large',
    ],
    ['nothing, and nobody to say why', { diff: '' }, [{ path: 'f', action: 'M', ...none }], 'no_diff'],
    [
      'an empty file',
      { diff: '', new_file: true, ...flags },
      [{ path: 'f', action: 'A', additions: 0, deletions: 0 }],
      null,
    ],
  ])('%s', (_why, more, paths, unread) => {
    expect(changeOf({ ...DIFF, ...more })).toMatchObject({ paths, unread, sanitized: [] })
  })

  test.each<[why: string, more: object, text: string]>([
    ['names and hunks', {}, '--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n'],
    [
      'names once',
      { diff: '--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n' },
      '--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n',
    ],
    ['a newline at the end', { diff: '@@ -1 +1 @@\n-a\n+b' }, '--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n'],
    ['a name of two lines', { new_path: 'f\n+x' }, '--- a/f\n+++ "b/f\\n+x"\n@@ -1 +1 @@\n-a\n+b\n'],
    [
      'a binary file',
      { diff: 'Binary files a/f and b/f differ\n' },
      '--- a/f\n+++ b/f\nBinary files a/f and b/f differ\n',
    ],
    ['nothing', { diff: '' }, ''],
  ])('as text: %s', (_why, more, text) => {
    expect(changeOf({ ...DIFF, ...more }).text).toBe(text)
  })

  test('a long path is cut as the git source cuts it, an odd one cleaned', () => {
    const long = 'd/'.repeat(3000)
    const cut = changeOf({ ...DIFF, new_path: long })
    const digest = createHash('sha256').update(long).digest('hex').slice(0, 8)
    expect(cut.paths[0]?.path).toBe(`${long.slice(0, 4084)}…~${digest}`)
    expect(cut.sanitized).toEqual(['new_path'])
    expect(changeOf({ ...DIFF, new_path: 'a\0b' }).paths[0]?.path).toBe('a\uFFFDb')
    expect(changeOf({ ...DIFF, new_path: 'a\0b\ud800' })).toMatchObject({
      paths: [{ path: 'a\uFFFDb\uFFFD' }],
      sanitized: ['new_path'],
    })
  })
})

/** Every reader with a record it likes, and what it makes of one. */
const READERS: Record<string, { record: object; read: (value: unknown) => unknown }> = {
  commit: { record: { ...COMMIT, stats: { additions: 1, deletions: 2 } }, read: commitOf },
  mergeRequest: {
    record: {
      ...MR,
      description: 'd',
      author: NOTE.author,
      assignees: [NOTE.author],
      reviewers: [NOTE.author],
      labels: ['a'],
      milestone: { title: 'm' },
      merged_by: NOTE.author,
      merged_at: AT,
      closed_at: AT,
      sha: SHA,
      draft: true,
      user_notes_count: 1,
      upvotes: 1,
      changes_count: '5',
      references: { full: 'x' },
      web_url: 'u',
      source_branch: 's',
    },
    read: mergeRequestOf,
  },
  notes: {
    record: {
      id: 'd',
      individual_note: false,
      notes: [
        {
          ...NOTE,
          type: 'DiffNote',
          position: { new_path: 'f', new_line: 1, line_range: { start: { type: 'new' } } },
          resolved_by: NOTE.author,
          resolved_at: AT,
          updated_at: AT,
        },
      ],
    },
    read: noteEventsOf,
  },
  state: {
    record: { id: 1, user: NOTE.author, created_at: AT, state: 'closed', resource_id: 2 },
    read: stateEventOf,
  },
  approvals: { record: { approved_by: [{ user: NOTE.author, approved_at: AT }] }, read: approvalEventsOf },
  project: { record: { ...PROJECT, archived: false, empty_repo: false }, read: projectOf },
  branch: {
    record: { name: 'b', merged: false, default: true, commit: { id: SHA, committed_date: AT } },
    read: branchOf,
  },
  tag: { record: { name: 't', commit: { id: SHA, created_at: AT } }, read: tagOf },
  diff: {
    record: { ...DIFF, renamed_file: false, a_mode: '100644', b_mode: '100644', collapsed: false },
    read: changeOf,
  },
}

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
const TRIALS = 20_000

test(`whatever comes, a record is refused or can be stored (${TRIALS} values, SEED=${seed})`, () => {
  const random = generator(seed)
  const outcome = { read: 0, refused: 0 }
  for (let trial = 0; trial < TRIALS; trial++) {
    const [name, { record, read }] = random.pick(Object.entries(READERS))
    const text = JSON.stringify(random.int(10) === 0 ? random.value(4) : mutated(record, random))
    const what = `SEED=${seed} trial ${trial} ${name}: ${text.slice(0, 500)}`
    try {
      const made = read(JSON.parse(text))
      outcome.read++
      const why = unstorable(made)
      if (why !== null) expect.fail(`${what}: ${why}`)
    } catch (error) {
      if (!(error instanceof SyncError)) throw new Error(what, { cause: error })
      outcome.refused++
      expect(error, what).toMatchObject({
        kind: 'upstream',
        message: expect.stringMatching(/^[\w !.:]{1,100}$/),
      })
    }
  }
  expect(outcome.read, JSON.stringify(outcome)).toBeGreaterThan(TRIALS / 4)
  expect(outcome.refused, JSON.stringify(outcome)).toBeGreaterThan(TRIALS / 20)
})

describe.each(servers())('$name', ({ url }) => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await freshDatabase(url, { empty: true })
  })
  afterAll(() => db.drop())

  /** The types of scm.git_commits, scm.mrs and scm.review_events. */
  const COLUMNS = {
    commit:
      'sha text, parents text[], author jsonb, committer jsonb, message text, tier text, degraded text, additions int, deletions int, sanitized text[]',
    mergeRequest:
      'iid bigint, "sourceMrId" bigint, status text, title text, description text, author text, "sourceBranch" text, "targetBranch" text, "headSha" text, draft boolean, url text, "userNotesCount" int, "createdAt" float8, "updatedAt" float8, "mergedAt" float8, "closedAt" float8, meta jsonb, digest text, sanitized text[]',
    notes:
      'id text, kind text, type text, reviewer text, at float8, body text, payload jsonb, sanitized text[]',
  }
  const INSTANTS = {
    commit: [`(author->>'epochSeconds')::float8`, `(committer->>'epochSeconds')::float8`],
    mergeRequest: ['"createdAt" / 1000', '"updatedAt" / 1000', '"mergedAt" / 1000', '"closedAt" / 1000'],
    notes: ['at / 1000'],
  }

  test.each(['commit', 'mergeRequest', 'notes'] as const)('takes every hostile %s', async (name) => {
    const random = generator(seed)
    const { record, read } = READERS[name]!
    const made: unknown[] = []
    while (made.length < 2000) {
      try {
        made.push(read(JSON.parse(JSON.stringify(mutated(record, random)))))
      } catch (error) {
        if (!(error instanceof SyncError)) throw error
      }
    }
    const instants = INSTANTS[name].map((at, i) => `to_timestamp(${at}) as t${i}`).join(', ')
    await db.pool.query(
      `create table ${name}_rows as select *, ${instants} from json_to_recordset($1::json) as x(${COLUMNS[name]})`,
      [JSON.stringify(made.flat())],
    )
    const { rows } = await db.pool.query(`select count(*)::int as n from ${name}_rows`)
    expect(rows[0].n, `SEED=${seed}`).toBe(made.flat().length)
  })
})

/** Why PostgreSQL could not hold it; null when it could. */
function unstorable(value: unknown, depth = 0): string | null {
  if (depth > 8) return 'too deep'
  if (typeof value === 'string')
    return value.includes('\0') || /\p{Surrogate}/u.test(value) ? `text ${JSON.stringify(value)}` : null
  if (typeof value === 'number')
    return Number.isSafeInteger(value) && !Object.is(value, -0) ? null : `number ${value}`
  if (typeof value === 'boolean' || value === null) return null
  if (typeof value !== 'object') return typeof value
  for (const [key, inner] of Object.entries(value)) {
    const why = unstorable(key, depth + 1) ?? unstorable(inner, depth + 1)
    if (why !== null) return `${key}: ${why}`
  }
  return null
}

const NASTY: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  1,
  -1,
  1.5,
  1e308,
  -1e308,
  2 ** 31,
  2 ** 53,
  2 ** 63,
  '',
  '\0',
  'a\0b',
  '\ud800',
  'x\udfff',
  '\u001b[2J',
  '\u202e',
  'x'.repeat(5000),
  '😀'.repeat(3000),
  '0',
  '1e9',
  'null',
  SHA,
  'ef'.repeat(32),
  SHA.toUpperCase(),
  AT,
  '9999-12-31T23:59:59Z',
  '275760-09-13T00:00:00.001Z',
  '-271821-04-20T00:00:00Z',
  '-4713-11-24T00:00:00+99:99',
  '292277024627-12-06T15:30:07Z',
  '2024-02-30T00:00:00Z',
  '0000-00-00T00:00:00Z',
  '2015-05-17 18:08:09 UTC',
  [],
  {},
  [[]],
  [null],
  [1, 'a', {}],
  { id: 1 },
  { username: '\0' },
  { username: {} },
]

/** The record with some of its places, at any depth, replaced, left out or added to. */
function mutated(record: object, random: ReturnType<typeof generator>): unknown {
  const copy = structuredClone(record)
  for (let times = 1 + random.int(4); times > 0; times--) {
    let at: Record<string, unknown> = copy as Record<string, unknown>
    for (;;) {
      const key = random.pick(Object.keys(at))
      const inner = at[key]
      if (typeof inner === 'object' && inner !== null && Object.keys(inner).length > 0 && random.int(4) > 0) {
        at = inner as Record<string, unknown>
        continue
      }
      if (random.int(5) === 0) delete at[key]
      else at[key] = random.value(3)
      break
    }
    if (Object.keys(copy).length === 0) break
  }
  return copy
}

/** mulberry32, so that a seed tells the whole run. */
function generator(from: number) {
  let state = from
  const int = (below: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
  const pick = <T>(of: readonly T[]): T => of[int(of.length)] as T
  const value = (depth: number): unknown => {
    if (depth === 0 || int(3) > 0) return structuredClone(pick(NASTY))
    if (int(2) === 0) return Array.from({ length: int(4) }, () => value(depth - 1))
    const keys = ['id', 'iid', 'username', 'notes', 'commit', '__proto__', 'toString', 'title', 'name']
    const object = Object.create(null)
    for (let n = int(4); n > 0; n--) object[pick(keys)] = value(depth - 1)
    return object
  }
  return { int, pick, value }
}
