import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Entry, entriesReader } from '../../../../src/core/sources/svn/entries.ts'
import { revisionOf } from '../../../../src/core/sources/svn/revision.ts'
import { MAX_TEXT_BYTES } from '../../../../src/core/sources/svn/xml.ts'
import { newSeed, seeded } from '../../../helpers/git-repo.ts'
import { CORPUS, corpusFiles } from '../../../helpers/svn.ts'

function parse(pieces: Iterable<Buffer>, path = ''): Entry[] {
  const entries: Entry[] = []
  const reader = entriesReader('a log', path, (entry) => entries.push(entry))
  for (const piece of pieces) reader.write(piece)
  reader.end()
  return entries
}

function corpus(name: string): Buffer {
  return readFileSync(join(CORPUS, 'svn-log-xml', name))
}

function log(...entries: string[]): Buffer {
  return Buffer.from(
    `<?xml version="1.0" encoding="UTF-8"?>\n<log>\n${entries.join('\n')}\n</log>\n`,
    'latin1',
  )
}

const upstream = expect.objectContaining({ name: 'SyncError', kind: 'upstream' })
const hasCorpus = corpusFiles('svn-log-xml').length > 0

describe.runIf(hasCorpus)('the logs of the corpus', () => {
  test('tell what is hidden, wholly and in part', () => {
    const seen = parse([corpus('edge_authz_r12-15.xml')]).map(revisionOf)
    expect(
      seen.map(({ rev, visibility, author, message, pathCount }) => [
        rev,
        visibility,
        author,
        message,
        pathCount,
      ]),
    ).toEqual([
      [12, 'full', 'bob', 'far future', 1],
      [13, 'none', null, null, 0],
      [14, 'partial', 'mallory', null, 1],
      [15, 'full', 'bob', 'crlf line1\r\nline2\rline3', 1],
    ])
    expect(seen[0]).toMatchObject({
      at: Date.UTC(2106, 1, 7, 6, 28, 16),
      paths: [{ path: '/trunk/文件-é.txt' }],
      sanitized: [],
    })
  })

  test.each([
    [
      'edge_r5_control_bytes.xml',
      { message: 'control ?\\001?\\027[31m bytes & <xml> ]]> "q"', sanitized: ['message'] },
    ],
    [
      'edge_r6_invalid_utf8_author.xml',
      { author: 'j\ufffdrg', message: 'latin1 \ufffd\ufffd invalid utf-8', sanitized: ['author', 'message'] },
    ],
    [
      'edge_r9_no_paths.xml',
      { message: 'empty revision, no paths', paths: [], pathCount: 0, visibility: 'full' },
    ],
    [
      'edge_r17_garbage_date.xml',
      { at: null, dateRaw: 'garbage', message: 'garbage date', sanitized: ['date'] },
    ],
    // U+FFFE is valid UTF-8 and PostgreSQL takes it: it is kept as it is.
    [
      'edge_r20_ufffe.xml',
      { message: 'noncharacter \ufffe and 😀 and nel \u0085 and del ?\\127', sanitized: ['message'] },
    ],
  ])('%s', (name, told) => {
    const [revision, ...more] = parse([corpus(name)]).map(revisionOf)
    expect(more).toEqual([])
    expect(revision).toMatchObject(told)
  })

  test('one that svn left unfinished is none', () => {
    expect(() => parse([corpus('edge_auth_failure_truncated_rc1.xml')])).toThrow(upstream)
  })

  test('3,000 real revisions come out the same however the bytes arrive', () => {
    const bytes = corpus('asf-subversion-derived-3000.xml')
    const whole = parse([bytes])
    expect(whole).toHaveLength(3000)
    expect(whole.filter(({ message }) => message === null)).toEqual([])
    expect(whole.reduce((sum, { paths }) => sum + paths.length, 0)).toBe(
      bytes.toString('latin1').split('<path\n').length - 1,
    )
    const random = seeded(newSeed())
    const pieces: Buffer[] = []
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + Math.floor(random() ** 4 * 5000)
      pieces.push(bytes.subarray(at, at + size))
      at += size
    }
    expect(parse(pieces)).toEqual(whole)
  })
})

describe.runIf(hasCorpus)('B41 a log that is cut short', () => {
  test.each(['edge_authz_r12-15.xml', 'edge_r5_control_bytes.xml'])('%s, at every byte', (name) => {
    const bytes = corpus(name)
    const whole = parse([bytes])
    const end = bytes.lastIndexOf('</log>') + '</log>'.length
    for (let size = 0; size < end; size++) {
      const entries: Entry[] = []
      const reader = entriesReader('a log', '', (entry) => entries.push(entry))
      expect(() => {
        reader.write(bytes.subarray(0, size))
        reader.end()
      }, `cut at ${size}`).toThrow(upstream)
      // What came before the cut is whole.
      expect(entries).toEqual(whole.slice(0, entries.length))
    }
    expect(parse([bytes.subarray(0, end)])).toEqual(whole)
  })
})

const ONE =
  '<logentry revision="1"><author>a</author><date>2020-01-01T00:00:00.000000Z</date><msg>m</msg></logentry>'

describe('B42 a hostile log', () => {
  test.each<[what: string, bytes: Buffer]>([
    ['a DOCTYPE', Buffer.from(`<?xml version="1.0"?><!DOCTYPE log><log>${ONE}</log>`)],
    [
      'an entity bomb',
      Buffer.from(
        `<?xml version="1.0"?><!DOCTYPE log [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><log><logentry revision="1"><msg>&b;</msg></logentry></log>`,
      ),
    ],
    [
      'a file to include',
      Buffer.from('<!DOCTYPE log [<!ENTITY x SYSTEM "file:///etc/passwd">]><log>&x;</log>'),
    ],
    ['an entity nobody declared', log('<logentry revision="1"><msg>&b;</msg></logentry>')],
    ['CDATA', log('<logentry revision="1"><msg><![CDATA[x]]></msg></logentry>')],
    ['a comment', log('<!-- x -->', ONE)],
    ['another root', Buffer.from('<info></info>')],
    ['two roots', Buffer.concat([log(ONE), Buffer.from('<log></log>')])],
    ['an entry within another', log(`<logentry revision="2">${ONE}</logentry>`)],
    ['a revision that is no number', log('<logentry revision="1e3"></logentry>')],
    ['a revision without a number', log('<logentry></logentry>')],
    ['a negative revision', log('<logentry revision="-1"></logentry>')],
    [
      'a copy from nowhere',
      log('<logentry revision="1"><paths><path action="A" copyfrom-path="/a">/b</path></paths></logentry>'),
    ],
    ['tags that cross', log('<logentry revision="1"><msg>m</logentry></msg>')],
    ['elements without end', Buffer.from('<log>'.repeat(100_000))],
    [
      'an attribute without end',
      Buffer.concat([
        Buffer.from('<log a="'),
        Buffer.alloc(MAX_TEXT_BYTES + 100, 120),
        Buffer.from('"></log>'),
      ]),
    ],
  ])('%s is refused', (_what, bytes) => {
    expect(() => parse([bytes])).toThrow(upstream)
    const byByte = [...bytes.subarray(0, 4000)].map((byte) => Buffer.from([byte]))
    expect(() => parse([...byByte, bytes.subarray(4000)])).toThrow(upstream)
  })

  test('a message of 20 MiB is cut, never within a reference, and says so', () => {
    for (const filler of ['x', '&amp;', '&#13;', 'é']) {
      const unit = Buffer.from(filler)
      const text = Buffer.alloc(20 * 1024 * 1024, unit)
      const bytes = Buffer.concat([
        Buffer.from('<log><logentry revision="1"><msg>'),
        text.subarray(0, text.length - (text.length % unit.length)),
        Buffer.from(`</msg></logentry>${ONE.replace('"1"', '"2"')}</log>`),
      ])
      for (const step of [65_536, 65_537, 8192]) {
        const pieces: Buffer[] = []
        for (let at = 0; at < bytes.length; at += step) pieces.push(bytes.subarray(at, at + step))
        const [cut, next] = parse(pieces) as [Entry, Entry]
        expect(cut.message?.length).toBeGreaterThan(MAX_TEXT_BYTES / 6)
        expect(cut.message?.length).toBeLessThanOrEqual(MAX_TEXT_BYTES)
        expect(cut.degraded[0]).toMatch(/^message_size:2097\d{4}$/)
        expect(cut.sanitized).toEqual(['message'])
        expect(next).toMatchObject({ rev: 2, message: 'm', degraded: [], sanitized: [] })
      }
    }
  })

  test('names that no file system holds are cut, and their number is true', () => {
    const long = 'x'.repeat(1_000_000)
    const paths = Array.from(
      { length: 1500 },
      (_, i) => `<path action="A">/${i}${i < 20 ? long : 'y'.repeat(4000)}</path>`,
    )
    const [entry] = parse([log(`<logentry revision="1"><paths>${paths.join('')}</paths></logentry>`)])
    expect(entry?.pathCount).toBe(1500)
    expect(entry?.paths[0]?.path.replace(/x+/, 'x')).toMatch(/^\/0x…~[0-9a-f]{8}$/)
    expect(Buffer.byteLength(entry?.paths[0]?.path ?? '')).toBe(4096)
    expect(entry?.paths.length).toBeLessThan(1100)
    expect(entry?.degraded[0]).toMatch(/^paths_size:2\d{7}$/)
  })

  test('random damage is an error or a log, never anything else', () => {
    const random = seeded(newSeed())
    const good = log(ONE, ONE.replace('"1"', '"2"').replace('>m<', '>caf\xe9 &amp; ?\\007<'))
    for (let round = 0; round < 5000; round++) {
      const bytes = Buffer.from(good)
      for (let hits = 1 + Math.floor(random() * 3); hits > 0; hits--)
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
      try {
        for (const { author, message, date } of parse([bytes]))
          for (const text of [author, message, date]) expect(text?.includes('\0') ?? false).toBe(false)
      } catch (error) {
        expect(error).toEqual(upstream)
      }
    }
  })
})

describe('B43 control bytes', () => {
  test('each that XML has no place for becomes U+FFFD, and only the field it stood in is marked', () => {
    for (let byte = 0; byte < 32; byte++) {
      if ([9, 10, 13].includes(byte)) continue
      const entry = `<logentry revision="1"><author>a</author><msg>x${String.fromCharCode(byte)}y</msg></logentry>`
      expect(parse([log(entry)])).toMatchObject([
        { author: 'a', message: 'x\ufffdy', sanitized: ['message'] },
      ])
    }
    const honest = Buffer.from('<log><logentry revision="1"><msg>\ufffd\t\n\u009b</msg></logentry></log>')
    expect(parse([honest])).toMatchObject([{ message: '\ufffd\t\n\u009b', sanitized: [] }])
  })
})

describe('what an entry concerns', () => {
  test.each<[path: string, changes: string, touches: boolean, bears: boolean]>([
    ['/trunk', 'M /trunk', true, false],
    ['/trunk', 'M /trunk/a', true, false],
    ['/trunk', 'M /trunk2', false, false],
    ['/trunk', 'M /', false, false],
    ['/trunk', 'A /trunk', true, true],
    ['/trunk', 'R /trunk', true, true],
    ['/trunk', 'D /trunk', true, false],
    ['/a/b/c', 'A /a', false, false],
    ['/a/b/c', 'A /a < /x', true, true],
    ['/a/b/c', 'R /a', true, true],
    ['/a/b/c', 'D /a/b', true, false],
    ['/a/b/c', 'M /a/b', false, false],
    ['/a/b/c', 'A /a/bc', false, false],
    ['/é', 'M /é/ü', true, false],
    ['', 'M /x', true, false],
    ['', 'A /x', true, false],
  ])('%s by %s', (path, change, touches, bears) => {
    const [action, changed, , from] = change.split(' ')
    const copy = from === undefined ? '' : ` copyfrom-path="${from}" copyfrom-rev="1"`
    const bytes = Buffer.from(
      `<log><logentry revision="1"><paths><path action="${action}"${copy}>${changed}</path></paths></logentry></log>`,
    )
    expect(parse([bytes], path)).toMatchObject([{ touches, bears }])
  })
})
