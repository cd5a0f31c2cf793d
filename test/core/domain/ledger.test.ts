import fc from 'fast-check'
import { expect, test } from 'vitest'
import { batchKey, canonical, hashOf, type Json, sha256, taskKey } from '../../../src/core/domain/ledger.ts'

test('the documented vector', () => {
  const spec: Json = {
    window: {
      to: '2025-01-01T04:00:00Z',
      from: '2025-01-01T00:00:00Z',
      timezone: 'UTC',
      boundary: { to: 'OPEN', from: 'CLOSED' },
    },
    strategy: 'TIME',
  }
  expect(hashOf(spec)).toBe('7bd167e294e05648b7a0af1758842c47e20c6de60207102a52b78cec3a01f20e')
})

test('key order and emptiness do not matter, array order and types do', () => {
  expect(canonical({ b: 1, a: [2, 1], c: null, d: '', e: {}, f: [] })).toBe('{"a":[2,1],"b":1}')
  expect(hashOf({ a: [1, 2] })).not.toBe(hashOf({ a: [2, 1] }))
  expect(hashOf({ a: '12e5' })).not.toBe(hashOf({ a: 1_200_000 }))
})

test('different tuples have different keys, however the same text is cut', () => {
  const key = (text: string, cut: number) =>
    taskKey({
      sliceSignature: text.slice(0, cut),
      exprHash: text.slice(cut),
      operation: 'HARVEST',
      planKey: 'p',
      params: {},
    })
  fc.assert(
    fc.property(fc.string({ minLength: 2, maxLength: 20 }), fc.nat(), fc.nat(), (text, a, b) => {
      const [one, other] = [a % text.length, b % text.length]
      fc.pre(one !== other)
      expect(key(text, one)).not.toBe(key(text, other))
    }),
  )
})

test('a batch key is the hash of run, kind of place, and token', () => {
  expect(batchKey(7, '3:abc')).toBe(sha256('7\u001ft\u001f3:abc'))
})
