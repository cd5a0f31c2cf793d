import { expect, test } from 'vitest'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { parseInstant } from '../../../src/core/domain/instant.ts'

test.each<[why: string, text: string, at: string]>([
  ['a date alone is its midnight in UTC', '2025-01-31', '2025-01-31T00:00:00.000Z'],
  ['Z', '2025-01-31T10:00:00Z', '2025-01-31T10:00:00.000Z'],
  ['an offset is applied, not dropped', '2025-01-31T10:00:00+08:00', '2025-01-31T02:00:00.000Z'],
  ['an offset without a colon', '2025-01-31T10:00:00-0330', '2025-01-31T13:30:00.000Z'],
  ['no zone means UTC', '2025-01-31T10:00:00', '2025-01-31T10:00:00.000Z'],
  ['a blank for T', '2025-01-31 10:00', '2025-01-31T10:00:00.000Z'],
  ['fractions down to milliseconds', '2025-01-31T10:00:00.123456Z', '2025-01-31T10:00:00.123Z'],
  ['as PostgreSQL prints it', '2025-01-31 10:00:00.5+08', '2025-01-31T02:00:00.500Z'],
  ['before 1970', '1969-12-31T23:59:00Z', '1969-12-31T23:59:00.000Z'],
  ['the first year', '0001-01-01', '0001-01-01T00:00:00.000Z'],
  ['a leap day', '2024-02-29', '2024-02-29T00:00:00.000Z'],
])('%s', (_why, text, at) => {
  expect(parseInstant(text, '--since').toISOString()).toBe(at)
})

test.each([
  '',
  'yesterday',
  '2025-02-30',
  '2025-13-01',
  '2025-01-31T25:00:00Z',
  '1738300000',
  '2025-1-1',
  '20250131',
  '2025-01-31T10:00:00+8',
  'NaN',
  '2025-01-31Tnow',
  '0000-01-01',
  '0001-01-01T00:00:00+01:00',
])('refuses %j as a time', (text) => {
  expect(() => parseInstant(text, '--since')).toThrow(SyncError)
})
