import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { decodeText } from '../../../../src/core/domain/clean.ts'
import type { Revision } from '../../../../src/core/domain/facts.ts'
import { newSeed, seeded } from '../../../helpers/git-repo.ts'
import {
  accessTo,
  CORPUS,
  corpusFiles,
  hasSvn,
  load,
  makeRepository,
  readPages,
  revisionsOf,
  startServer,
  svnFolder,
  tool,
} from '../../../helpers/svn.ts'
import { type Dumped, readDump } from '../../../helpers/svn-dump.ts'

const dumps = corpusFiles('svn-dumps')

describe.runIf(hasSvn && dumps.length > 0)('every dump of the corpus', () => {
  test('is read over svnserve in random steps as svnadmin itself tells it', {
    timeout: 300_000,
  }, async () => {
    const server = await startServer()
    const random = seeded(newSeed())
    const cacheDir = svnFolder()
    const refused: string[] = []
    let revisions = 0
    let copies = 0
    for (const [i, name] of dumps.entries()) {
      const repo = makeRepository(server, `d${i}`)
      const bytes = readFileSync(join(CORPUS, 'svn-dumps', name))
      try {
        load(repo, name.endsWith('.gz') ? gunzipSync(bytes) : bytes)
      } catch {
        refused.push(name)
        if (repo.youngest() === 0) continue
      }
      const truth = readDump(tool('svnadmin', ['dump', '-q', repo.dir]))
      truth.delete(0)

      // An incremental sync at random moments: HEAD is where it stands, so the steps are ranges of it.
      const read: Revision[] = []
      for (let scanned = 0; scanned < repo.youngest(); ) {
        const to = Math.min(repo.youngest(), scanned + 1 + Math.floor(random() * 7))
        const pages = await readPages(
          accessTo(repo.url, { cacheDir, pageSize: 1 + Math.floor(random() * 4) }),
          { window: 'range', from: scanned + 1, to },
        )
        read.push(...revisionsOf(pages))
        scanned = to
      }
      expect([name, read.map(({ rev }) => rev)]).toEqual([name, [...truth.keys()]])
      for (const revision of read) {
        const told = truth.get(revision.rev) as Dumped
        expect([name, revision.rev, changesOf(revision)]).toEqual([name, revision.rev, told.changes.sort()])
        expect([name, revision.rev, ...propsOf(revision)]).toEqual([
          name,
          revision.rev,
          ...propsTold(told, revision),
        ])
        copies += revision.paths.filter(({ copyFrom }) => copyFrom !== null).length
      }
      revisions += read.length
    }
    process.stderr.write(
      `corpus: ${revisions} revisions, ${copies} copies, refused by svnadmin: ${refused.join(' ')}\n`,
    )
    expect(refused).toEqual(['svnrdump_tests_data__partial_incremental.dump'])
    expect(revisions).toBeGreaterThanOrEqual(401)
  })
})

function changesOf({ paths }: Revision): string[] {
  return paths
    .map(
      ({ path, action, copyFrom }) =>
        `${action} ${path}${copyFrom ? ` < ${copyFrom.path}@${copyFrom.rev}` : ''}`,
    )
    .sort()
}

function propsOf({ author, message, at, dateRaw }: Revision): unknown[] {
  return [author, message, at, dateRaw]
}

function propsTold({ props }: Dumped, { sanitized }: Revision): unknown[] {
  const told = (name: string, field: string): string | null => {
    const bytes = props.get(name)
    if (bytes === undefined) return null
    const { text, intact } = decodeText(bytes)
    expect([field, intact || sanitized.includes(field)]).toEqual([field, true])
    return text
  }
  const date = told('svn:date', 'date')
  const at = date === null ? Number.NaN : Date.parse(date)
  return [
    told('svn:author', 'author'),
    told('svn:log', 'message'),
    Number.isNaN(at) ? null : at,
    Number.isNaN(at) ? date : null,
  ]
}
