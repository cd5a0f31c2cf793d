import { describe, expect, test } from 'vitest'
import { cursorKvKey, kvMark, kvValueOf, readCursor } from '../../../src/core/domain/cursor.ts'
import { originOf, revisionMark, timeMark } from '../../../src/core/domain/mark.ts'

const mark = (value: string) => timeMark(new Date(value))
const at = (value: string) => ({ ...mark(value), version: 3 })
const JAN = '2025-01-01T00:00:00.000Z'
const FEB = '2025-02-01T00:00:00.000Z'
const EPOCH = '1970-01-01T00:00:00.000Z'
const NOW = new Date(FEB)

test.each<
  [
    why: string,
    kv: string | null,
    audited: ReturnType<typeof at> | null,
    expected: ReturnType<typeof readCursor>,
  ]
>([
  ['nothing anywhere is a first sync', null, null, { watermark: null, refetchSince: null, edit: null }],
  ['both agree: go on', FEB, at(FEB), { watermark: mark(FEB), refetchSince: null, edit: null }],
  [
    'agree in another spelling',
    '2025-02-01T08:00:00+08:00',
    at(FEB),
    { watermark: mark(FEB), refetchSince: null, edit: null },
  ],
  [
    'deleted: everything again',
    null,
    at(FEB),
    {
      watermark: null,
      refetchSince: 'beginning',
      edit: { direction: 'BACKFILL', to: mark(EPOCH), reason: 'manual_reset' },
    },
  ],
  [
    'set back: from there again',
    JAN,
    at(FEB),
    {
      watermark: mark(JAN),
      refetchSince: mark(JAN),
      edit: { direction: 'BACKFILL', to: mark(JAN), reason: 'manual_reset' },
    },
  ],
  [
    'set ahead: obeyed and audited',
    FEB,
    at(JAN),
    {
      watermark: mark(FEB),
      refetchSince: null,
      edit: { direction: 'FORWARD', to: mark(FEB), reason: 'force_forward' },
    },
  ],
  [
    'set before any sync: an import',
    JAN,
    null,
    {
      watermark: mark(JAN),
      refetchSince: null,
      edit: { direction: 'FORWARD', to: mark(JAN), reason: 'import' },
    },
  ],
])('%s', (_why, kv, audited, expected) => {
  expect(readCursor(kvMark('TIME', kv, NOW), audited)).toEqual(expected)
})

test.each<[value: unknown, watermark: string | null]>([
  [{ watermark: JAN, run_id: '7' }, JAN],
  [{ watermark: '2024-01-01T00:00:00Z', run_id: 'manual_reset' }, '2024-01-01T00:00:00.000Z'],
  [JAN, JAN],
  [{ watermark: '2024-01-01' }, '2024-01-01T00:00:00.000Z'],
  [{ watermark: '2024-01-01T08:00:00' }, '2024-01-01T08:00:00.000Z'],
  [{ watermark: '2024-01-01 08:00:00' }, '2024-01-01T08:00:00.000Z'],
  [{ watermark: '2024-01-01 08:00:00.123456+00' }, '2024-01-01T08:00:00.123Z'],
  [{ watermark: '2024-02-30' }, null],
  [null, null],
  [{}, null],
  [{ watermark: 5 }, null],
  [{ watermark: 'soon' }, null],
  [{ watermark: '' }, null],
  [[], null],
  [17, null],
  [{ watermark: '2025-02-01T23:59:59Z' }, '2025-02-01T23:59:59.000Z'],
  [{ watermark: '2025-02-02T00:00:01Z' }, null],
  [{ watermark: '2099-01-01' }, null],
])('a kv value %j has watermark %j: what cannot be read counts as missing', (value, watermark) => {
  expect(kvMark('TIME', value, NOW)?.value ?? null).toBe(watermark)
})

test.each<[value: unknown, revision: number | null]>([
  [{ watermark: '1234', run_id: '7', updated_at: JAN }, 1234],
  [{ watermark: 1234 }, 1234],
  ['1234', 1234],
  [1234, 1234],
  ['0', 0],
  ['007', 7],
  [{ last_rev: 1234 }, 1234],
  [{ version: 2, watermark: { last_rev: 1234 }, stats: { last_sync_count: 3 } }, 1234],
  [{ watermark: '2147483647' }, 2147483647],
  [{ watermark: '2147483648' }, null],
  [{ watermark: -1 }, null],
  [{ watermark: 1.5 }, null],
  ['r12', null],
  ['', null],
  [{ watermark: '12 ' }, null],
  [{ watermark: '1e3' }, null],
  [{ watermark: true }, null],
  [{ watermark: null, last_rev: 5 }, null],
  [{ watermark: JAN }, null],
  [{ watermark: [] }, null],
  [[12], null],
  [{}, null],
  [null, null],
  [true, null],
])('a kv value %j has revision %j', (value, revision) => {
  expect(kvMark('ID', value, NOW)?.at ?? null).toBe(revision)
})

describe('a revision', () => {
  const audited = { ...revisionMark(120), version: 3 }
  const read = (value: unknown) => readCursor(kvMark('ID', value, NOW), audited)

  test('is compared as a number', () => {
    expect(read('0120')).toEqual({ watermark: revisionMark(120), refetchSince: null, edit: null })
    expect(read('99')).toMatchObject({ refetchSince: revisionMark(99), edit: { direction: 'BACKFILL' } })
    expect(read(1000)).toMatchObject({ watermark: revisionMark(1000), edit: { reason: 'force_forward' } })
  })

  test('deleted is back to before the first', () => {
    expect(read(undefined)).toEqual({
      watermark: null,
      refetchSince: 'beginning',
      edit: { direction: 'BACKFILL', to: originOf('ID'), reason: 'manual_reset' },
    })
  })

  test('that a sync left behind the audited one is no edit, until somebody edits it', () => {
    const left = kvValueOf(revisionMark(80), { runId: '9', now: NOW, isBehind: true })
    expect(read(left)).toEqual({ watermark: revisionMark(80), refetchSince: null, edit: null })
    expect(read({ ...left, watermark: '70' })).toMatchObject({ edit: { direction: 'BACKFILL' } })
    expect(read({ watermark: '80' })).toMatchObject({ edit: { direction: 'BACKFILL' } })
  })
})

test('keys are the runbook’s', () => {
  expect(cursorKvKey('gitlab', 'commits', 7)).toBe('gitlab_cursor:7')
  expect(cursorKvKey('gitlab', 'mrs', 7)).toBe('gitlab_mr_cursor:7')
  expect(cursorKvKey('gitlab', 'reviews', 7)).toBe('gitlab_reviews_cursor:7')
  expect(cursorKvKey('svn', 'commits', 7)).toBe('svn_cursor:7')
  expect(cursorKvKey('git', 'commits', 7)).toBe('git_cursor:7')
})
