import { expect, test } from 'vitest'
import { cleanEpoch, cleanText, decodeText } from '../../../src/core/domain/clean.ts'

test('only what PostgreSQL refuses is replaced', () => {
  const table: [string, string][] = [
    ['plain', 'plain'],
    ['a\0b\0', 'a\uFFFDb\uFFFD'],
    ['lone \uD800 high', 'lone \uFFFD high'],
    ['lone \uDC00 low', 'lone \uFFFD low'],
    ['\uDC00\uD800', '\uFFFD\uFFFD'],
    ['a pair \u{1F600}', 'a pair \u{1F600}'],
    ['escapes \x1b[31m and bidi \u202E stay', 'escapes \x1b[31m and bidi \u202E stay'],
    ['', ''],
  ]
  for (const [given, wanted] of table) expect(cleanText(given)).toBe(wanted)
})

test('bytes are decoded by their label, or as UTF-8, and say when they were not intact', () => {
  const table: [number[] | Buffer, string | null, string, boolean][] = [
    [Buffer.from('grün'), null, 'grün', true],
    [[0x67, 0x72, 0xfc, 0x6e], null, 'gr\uFFFDn', false],
    [[0x67, 0x72, 0xfc, 0x6e], 'ISO-8859-1', 'grün', true],
    [[0xc4, 0xe3, 0xba, 0xc3], 'gbk', '你好', true],
    [Buffer.from('grün'), 'no-such-label', 'grün', true],
    [Buffer.from('grün'), 'replacement', 'grün', true],
    [Buffer.from('grün'), 'x'.repeat(100_000), 'grün', true],
    [[0xef, 0xbf, 0xbd], null, '\uFFFD', true], // upstream wrote it itself
    [[0xef, 0xbb, 0xbf, 0x41], null, '\uFEFFA', true], // a byte order mark is kept
    [[0xed, 0xa0, 0x80], null, '\uFFFD\uFFFD\uFFFD', false], // a surrogate in UTF-8
    [[0x41, 0], null, 'A\uFFFD', false],
    [[0x00, 0xd8, 0x41, 0x00], 'utf-16le', '\uFFFDA', false],
  ]
  for (const [bytes, label, text, intact] of table)
    expect(decodeText(Uint8Array.from(bytes), label)).toEqual({ text, intact })
})

test('an epoch is one that timestamptz and Date can both hold', () => {
  expect(cleanEpoch(0)).toBe(0)
  expect(cleanEpoch(-210_866_803_200)).toBe(-210_866_803_200)
  expect(cleanEpoch(-210_866_803_201)).toBeNull()
  expect(cleanEpoch(8_640_000_000_000)).toBe(8_640_000_000_000)
  expect(cleanEpoch(8_640_000_000_001)).toBeNull()
  expect(cleanEpoch(2 ** 63)).toBeNull()
  expect(cleanEpoch(Number.NaN)).toBeNull()
})
