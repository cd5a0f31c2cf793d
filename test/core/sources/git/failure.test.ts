import { expect, test } from 'vitest'
import { failureOf } from '../../../../src/core/sources/git/failure.ts'

test('what git says becomes one safe line of the right kind', () => {
  const table: [stderr: string, kind: string, message: string][] = [
    [
      'fatal: Authentication failed for https://u:s3cret@h/x',
      'auth',
      'x: Authentication failed for https://***@h/x',
    ],
    ['warning: noise\nhint: noise\nfatal: bad object abc\n', 'upstream', 'x: bad object abc'],
    ['remote: your token s3cret is odd\n', 'upstream', 'x: your token *** is odd'],
    ['remote: \x1b[31mred\u202E\u2028\n', 'upstream', 'x: \\x1b[31mred\\u{202e}\\u{2028}'],
    ['fatal: x: Connection timed out', 'network', 'x: x: Connection timed out'],
    [
      'git@h: Permission denied (publickey).\nfatal: Could not read from remote',
      'auth',
      'x: git@h: Permission denied (publickey).',
    ],
    [
      "fatal: detected dubious ownership in repository at '/x'",
      'permission',
      "x: detected dubious ownership in repository at '/x'",
    ],
    ['fatal: write error: No space left on device', 'upstream', 'x: write error: No space left on device'],
    ['', 'upstream', 'x: git failed'],
  ]
  for (const [stderr, kind, message] of table)
    expect(failureOf('x', stderr, ['s3cret'])).toMatchObject({ kind, message })
  expect(failureOf('x', `fatal: ${'y'.repeat(5000)}`, []).message).toHaveLength(300)
})

test('a hostile server cannot make the reading of its words slow', () => {
  const started = performance.now()
  for (const piece of ['://', 'a://b ', '\x1b', 'repository ', 'error: ', '\n'])
    failureOf('x', `fatal: ${piece.repeat(16_384 / piece.length)}`, ['secret'])
  expect(performance.now() - started).toBeLessThan(1000)
})
