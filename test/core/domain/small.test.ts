import { expect, test } from 'vitest'
import { backoffSeconds } from '../../../src/core/domain/backoff.ts'
import { bulkReason, bulkRevisionReason } from '../../../src/core/domain/bulk.ts'
import { SyncError } from '../../../src/core/domain/errors.ts'
import type { Commit, Patch, Revision } from '../../../src/core/domain/facts.ts'
import { exitCodeOf, type Outcome, sumOf } from '../../../src/core/domain/outcome.ts'
import { maskUserinfo, parseRepoRef } from '../../../src/core/domain/repo.ts'

test.each<[outcomes: Outcome[], sum: Outcome, code: number]>([
  [[], 'skipped', 2],
  [['success', 'success'], 'success', 0],
  [['success', 'failed'], 'partial', 1],
  [['partial', 'failed'], 'partial', 1],
  [['failed', 'failed'], 'failed', 2],
  [['success', 'cancelled'], 'cancelled', 2],
])('%j come to %s, exit %i', (outcomes, sum, code) => {
  expect(sumOf(outcomes)).toBe(sum)
  expect(exitCodeOf(sum)).toBe(code)
})

test.each<[changes: Partial<Commit>, why: string | null]>([
  [{ additions: 600, deletions: 400 }, null],
  [{ additions: 600, deletions: 401 }, 'total_changes:1001>1000'],
  [{ pathCount: 50 }, null],
  [{ pathCount: 51 }, 'files_changed:51>50'],
  [{ additions: null, deletions: null, pathCount: null }, null],
  [{ patch: { format: 'diff', sizeBytes: 1_048_576 } as Patch }, null],
  [{ patch: { format: 'diff', sizeBytes: 1_572_864 } as Patch }, 'diff_size:1.50MB>1.00MB'],
  [
    { patch: { format: 'diffstat', sizeBytes: 9 } as Patch, degraded: 'x,diff_size:2097152' },
    'diff_size:2.00MB>1.00MB',
  ],
  [{ patch: { format: 'diffstat', sizeBytes: 2_000_000 } as Patch, degraded: null }, null],
])('%j is bulk because of %s: strictly greater', (changes, why) => {
  expect(
    bulkReason(changes as Commit, {
      git_total_changes: 1000,
      git_files_changed: 50,
      svn_changed_paths: 100,
      diff_size_bytes: 1_048_576,
    }),
  ).toBe(why)
})

test.each([
  [100, null],
  [101, 'changed_paths:101>100'],
])('a revision of %i paths is bulk because of %s', (pathCount, why) => {
  const thresholds = {
    git_total_changes: 1,
    git_files_changed: 1,
    svn_changed_paths: 100,
    diff_size_bytes: 1,
  }
  expect(bulkRevisionReason({ pathCount } as Revision, thresholds)).toBe(why)
})

test.each([
  ['rate_limited', 1, 120],
  ['network', 1, 60],
  ['network', 3, 240],
  ['upstream', 10, 3600],
  ['bug', 1, 60],
] as const)('after %s, attempt %i, a job rests %i s', (kind, attempt, seconds) => {
  expect(backoffSeconds(kind, attempt)).toBe(seconds)
})

test('a repository is kind and id, cut at the first colon', () => {
  expect(parseRepoRef('svn:https://svn.example.com/repo')).toEqual({
    kind: 'svn',
    id: 'https://svn.example.com/repo',
  })
  expect(parseRepoRef(' GitLab : 123 ')).toEqual({ kind: 'gitlab', id: '123' })
  for (const bad of ['', 'git', 'git:', ':x', 'hg:x', '/srv/x'])
    expect(() => parseRepoRef(bad)).toThrow(SyncError)
})

test('what stands before an @ in a URL is never in a message', () => {
  expect(maskUserinfo('https://user:secret@host/x and ssh://git@h')).toBe(
    'https://***@host/x and ssh://***@h',
  )
  expect(maskUserinfo('https://u:pa@secret@h/x')).toBe('https://***@h/x')
  for (const typed of ['https://user:secret@host/x', 'foo:u:secret@h:x', 'foo:u:pa@secret@h']) {
    expect(() => parseRepoRef(typed)).toThrow(/^(?!.*secret)/)
  }
})
