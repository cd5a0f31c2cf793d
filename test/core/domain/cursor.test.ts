import { expect, test } from 'vitest'
import { cursorKvKey, readCursor, watermarkOf } from '../../../src/core/domain/cursor.ts'

const at = (value: string) => ({ value, instant: new Date(value), version: 3 })
const JAN = '2025-01-01T00:00:00.000Z'
const FEB = '2025-02-01T00:00:00.000Z'
const EPOCH = '1970-01-01T00:00:00.000Z'

test.each<
  [
    why: string,
    kv: string | null,
    audited: ReturnType<typeof at> | null,
    expected: ReturnType<typeof readCursor>,
  ]
>([
  ['nothing anywhere is a first sync', null, null, { watermark: null, refetchSince: null, edit: null }],
  ['both agree: go on', FEB, at(FEB), { watermark: FEB, refetchSince: null, edit: null }],
  [
    'agree in another spelling',
    '2025-02-01T08:00:00+08:00',
    at(FEB),
    { watermark: FEB, refetchSince: null, edit: null },
  ],
  [
    'deleted: everything again',
    null,
    at(FEB),
    {
      watermark: null,
      refetchSince: 'beginning',
      edit: { direction: 'BACKFILL', value: EPOCH, reason: 'manual_reset' },
    },
  ],
  [
    'set back: from there again',
    JAN,
    at(FEB),
    {
      watermark: JAN,
      refetchSince: JAN,
      edit: { direction: 'BACKFILL', value: JAN, reason: 'manual_reset' },
    },
  ],
  [
    'set ahead: obeyed and audited',
    FEB,
    at(JAN),
    {
      watermark: FEB,
      refetchSince: null,
      edit: { direction: 'FORWARD', value: FEB, reason: 'force_forward' },
    },
  ],
  [
    'set before any sync: an import',
    JAN,
    null,
    { watermark: JAN, refetchSince: null, edit: { direction: 'FORWARD', value: JAN, reason: 'import' } },
  ],
])('%s', (_why, kv, audited, expected) => {
  expect(readCursor(kv, audited)).toEqual(expected)
})

test.each<[value: unknown, watermark: string | null]>([
  [{ watermark: JAN, run_id: '7' }, JAN],
  [{ watermark: '2024-01-01T00:00:00Z', run_id: 'manual_reset' }, '2024-01-01T00:00:00Z'],
  [JAN, JAN],
  [{ watermark: '2024-01-01' }, '2024-01-01'],
  [null, null],
  [{}, null],
  [{ watermark: 5 }, null],
  [{ watermark: 'soon' }, null],
  [{ watermark: '' }, null],
  [[], null],
  [17, null],
  [{ watermark: '2025-02-01T23:59:59Z' }, '2025-02-01T23:59:59Z'],
  [{ watermark: '2025-02-02T00:00:01Z' }, null],
  [{ watermark: '2099-01-01' }, null],
])('a kv value %j has watermark %j: what cannot be read counts as missing', (value, watermark) => {
  expect(watermarkOf(value, new Date(FEB))).toBe(watermark)
})

test('keys are the runbook’s', () => {
  expect(cursorKvKey('gitlab', 'commits', 7)).toBe('gitlab_cursor:7')
  expect(cursorKvKey('gitlab', 'mrs', 7)).toBe('gitlab_mr_cursor:7')
  expect(cursorKvKey('gitlab', 'reviews', 7)).toBe('gitlab_reviews_cursor:7')
  expect(cursorKvKey('svn', 'commits', 7)).toBe('svn_cursor:7')
  expect(cursorKvKey('git', 'commits', 7)).toBe('git_cursor:7')
})
