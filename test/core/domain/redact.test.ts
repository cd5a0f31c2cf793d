import fc from 'fast-check'
import { expect, test } from 'vitest'
import { redactor } from '../../../src/core/domain/redact.ts'

const secret = 'p@ss "w/rd" é'

test.each([
  ['as it is', secret],
  ['URL-encoded', `https://u:${encodeURIComponent(secret)}@host/x`],
  ['base64', `Authorization: Basic ${Buffer.from(secret).toString('base64')}`],
  ['inside JSON', JSON.stringify({ error: `bad ${secret}` })],
])('a secret is removed %s', (_how, text) => {
  const clean = redactor([secret])(text)
  expect(clean).toContain('[redacted]')
  for (const form of [
    secret,
    encodeURIComponent(secret),
    Buffer.from(secret).toString('base64').slice(0, -2),
  ]) {
    expect(clean).not.toContain(form)
  }
})

test('a secret that contains another leaves no tail', () => {
  expect(redactor(['token', 'token-and-more'])('x token-and-more y')).toBe('x [redacted] y')
})

test('nothing of any secret of four or more characters survives anywhere', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 4 }), fc.string(), fc.string(), (s, before, after) => {
      fc.pre(!'[redacted]'.includes(s))
      expect(
        redactor([s])(before + s + after)
          .split('[redacted]')
          .join(''),
      ).not.toContain(s)
    }),
  )
})

test('60 kB of near misses take no time worth mentioning', () => {
  const text = 'glpat-'.repeat(10_000)
  expect(redactor(['glpat-0123456789abcdef'])(text)).toBe(text)
})
