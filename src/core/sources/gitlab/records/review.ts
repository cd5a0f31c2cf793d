import type { ReviewEvent } from '../../../domain/facts.ts'
import type { Json } from '../../../domain/ledger.ts'
import { Fields, present, WHOLE } from './fields.ts'
import { systemNoteType } from './system-note.ts'

/**
 * The notes of one entry of `discussions`. A discussion without a list of notes or a note without an id is `upstream`,
 * never nothing: what is missing from a review counts as deleted.
 */
export function noteEventsOf(discussion: unknown): ReviewEvent[] {
  const fields = new Fields(discussion, 'discussion')
  const discussionId = fields.text('id')
  const individual = fields.boolean('individual_note')
  return fields.all('notes').map((note) => noteEvent(note, discussionId, individual))
}

function noteEvent(value: unknown, discussionId: string | null, individual: boolean | null): ReviewEvent {
  const note = new Fields(value, 'note')
  const id = note.id('id')
  note.record = `note ${id}`

  const body = note.text('body', WHOLE)
  const system = note.boolean('system') ?? false
  const position = positionOf(note)
  const isOnCode = position !== null || note.text('type') === 'DiffNote'
  return {
    id: `note:${id}`,
    kind: 'note',
    type: system ? systemNoteType(body ?? '') : isOnCode ? 'code_comment' : 'comment',
    ...who(note, 'author'),
    at: note.instant('created_at'),
    body,
    payload: present({
      discussion_id: discussionId,
      individual_note: individual,
      system,
      ...person(note, 'author'),
      noteable_iid: note.integer('noteable_iid'),
      updated_at: note.time('updated_at'),
      resolvable: note.boolean('resolvable'),
      resolved: note.boolean('resolved'),
      resolved_by: note.within('resolved_by')?.text('username') ?? null,
      resolved_at: note.time('resolved_at'),
      // Older servers call it confidential.
      internal: note.boolean('internal') ?? note.boolean('confidential'),
      commit_id: note.text('commit_id'),
      position,
    }),
    sanitized: note.sanitized,
  }
}

/** One entry of `resource_state_events`. */
export function stateEventOf(value: unknown): ReviewEvent {
  const event = new Fields(value, 'state event')
  const id = event.id('id')
  event.record = `state event ${id}`

  const state = event.text('state')
  return {
    id: `state:${id}`,
    kind: 'state',
    type: STATE_TYPES.get(state) ?? 'system',
    ...who(event, 'user'),
    at: event.instant('created_at'),
    body: null,
    payload: present({
      state,
      ...person(event, 'user'),
      resource_type: event.text('resource_type'),
      resource_id: event.integer('resource_id'),
      source_commit: event.text('source_commit'),
      source_merge_request_iid: event.within('source_merge_request')?.integer('iid') ?? null,
    }),
    sanitized: event.sanitized,
  }
}

const STATE_TYPES = new Map<string | null, string>([
  ['opened', 'open'],
  ['closed', 'close'],
  ['reopened', 'reopen'],
  ['merged', 'merge'],
])

/** Who approves now, from `approvals`. Older servers do not say since when. */
export function approvalEventsOf(answer: unknown): ReviewEvent[] {
  return new Fields(answer, 'approvals').all('approved_by').map((entry) => {
    const approval = new Fields(entry, 'approval')
    const user = approval.must('user', approval.within('user'))
    return {
      id: `approval:${user.id('id')}`,
      kind: 'approval',
      type: 'approval',
      ...who(approval, 'user'),
      at: approval.instant('approved_at'),
      body: null,
      payload: present(person(approval, 'user')),
      sanitized: approval.sanitized,
    }
  })
}

function who(fields: Fields, key: string): { reviewer: string | null } {
  return { reviewer: fields.within(key)?.text('username') ?? null }
}

/** The number stays when the name is changed. */
function person(fields: Fields, key: string): { [key: string]: Json } {
  const user = fields.within(key)
  return { user_id: user?.integer('id') ?? null, user_name: user?.text('name') ?? null }
}

/** Where in the diff a note stands; null for one that stands nowhere. */
function positionOf(note: Fields): { [key: string]: Json } | null {
  const position = note.within('position')
  if (position === null) return null
  const range = position.within('line_range')
  return present({
    type: position.text('position_type'),
    base_sha: position.sha('base_sha'),
    start_sha: position.sha('start_sha'),
    head_sha: position.sha('head_sha'),
    old_path: position.text('old_path'),
    new_path: position.text('new_path'),
    old_line: position.integer('old_line'),
    new_line: position.integer('new_line'),
    range_start: lineOf(range, 'start'),
    range_end: lineOf(range, 'end'),
    x: position.integer('x'),
    y: position.integer('y'),
    width: position.integer('width'),
    height: position.integer('height'),
  })
}

function lineOf(range: Fields | null, key: string): { [key: string]: Json } | null {
  const line = range?.within(key) ?? null
  if (line === null) return null
  return present({
    type: line.text('type'),
    old_line: line.integer('old_line'),
    new_line: line.integer('new_line'),
  })
}
