import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { beforeAll, describe, expect, test } from 'vitest'
import { decodeText } from '../../../../src/core/domain/clean.ts'
import type { Revision } from '../../../../src/core/domain/facts.ts'
import type { RangeAsk } from '../../../../src/core/sources/source.ts'
import { size } from '../../../chaos/size.ts'
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
  type SvnRepo,
  type SvnServer,
  startServer,
  svnFolder,
  tool,
} from '../../../helpers/svn.ts'
import { type Dumped, readDump } from '../../../helpers/svn-dump.ts'
import { hasApache, startHttpServer } from '../../../helpers/svn-http.ts'

const dumps = corpusFiles('svn-dumps')
/** Revisions that an ask spans at most. A step takes processes, each 10 ms of CPU. */
const STEP = size('SVN_STEP', 18, 9)

interface Loaded {
  name: string
  repo: SvnRepo
  truth: Map<number, Dumped>
}

describe.runIf(hasSvn && dumps.length > 0)('every dump of the corpus', () => {
  const dir = svnFolder()
  const cacheDir = svnFolder()
  const loaded: Loaded[] = []
  const refused: string[] = []

  beforeAll(() => {
    for (const [i, name] of dumps.entries()) {
      const repo = makeRepository({ url: '', dir }, `d${i}`)
      const bytes = readFileSync(join(CORPUS, 'svn-dumps', name))
      try {
        load(repo, name.endsWith('.gz') ? gunzipSync(bytes) : bytes)
      } catch {
        refused.push(name)
        if (repo.youngest() === 0) continue
      }
      const truth = readDump(tool('svnadmin', ['dump', '-q', repo.dir]))
      truth.delete(0)
      loaded.push({ name, repo, truth })
    }
  }, 300_000)

  test('is loaded, but for the one that svnadmin refuses', () => {
    expect(refused).toEqual(['svnrdump_tests_data__partial_incremental.dump'])
  })

  test.runIf(hasSvn)(
    'is read over svnserve in random steps as svnadmin itself tells it',
    {
      timeout: 300_000,
    },
    async () => {
      await agrees('svn', await startServer(dir))
    },
  )

  test.runIf(hasApache)(
    'is read over http in random steps as svnadmin itself tells it',
    {
      timeout: 300_000,
    },
    async () => {
      await agrees('http', await startHttpServer({ dir }))
    },
  )

  async function agrees(by: 'svn' | 'http', server: SvnServer): Promise<void> {
    const random = seeded(newSeed())
    const asked = loaded.map((one) => ({ ...one, steps: randomSteps(one.repo.youngest(), random) }))
    let revisions = 0
    let copies = 0
    const lanes = Array.from({ length: 3 }, async () => {
      for (let one = asked.pop(); one !== undefined; one = asked.pop()) {
        const { name, repo, truth, steps } = one
        const read: Revision[] = []
        for (const { ask, pageSize } of steps)
          read.push(
            ...revisionsOf(
              await readPages(accessTo(`${server.url}${repo.url}`, { cacheDir, pageSize }), ask),
            ),
          )
        expect([name, read.map(({ rev }) => rev)]).toEqual([name, [...truth.keys()]])
        for (const revision of read) {
          const told = truth.get(revision.rev) as Dumped
          const at = [name, revision.rev]
          expect([...at, changesOf(revision)]).toEqual([...at, told.changes.sort()])
          expect([...at, ...propsOf(revision)]).toEqual([...at, ...propsTold(told, revision, by)])
          copies += revision.paths.filter(({ copyFrom }) => copyFrom !== null).length
        }
        revisions += read.length
      }
    })
    await Promise.all(lanes)
    process.stderr.write(`corpus over ${by}: ${revisions} revisions, ${copies} copies\n`)
    expect(revisions).toBeGreaterThanOrEqual(401)
    expect(copies).toBeGreaterThanOrEqual(101)
  }
})

/** An incremental sync at random moments: HEAD is where it stands, so the steps are ranges of it. */
function randomSteps(youngest: number, random: () => number): { ask: RangeAsk; pageSize: number }[] {
  const steps: { ask: RangeAsk; pageSize: number }[] = []
  for (let to = 0; to < youngest; ) {
    const from = to + 1
    to = Math.min(youngest, from + Math.floor(random() * STEP))
    steps.push({ ask: { window: 'range', from, to }, pageSize: 1 + Math.floor(random() * (STEP / 2)) })
  }
  return steps
}

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

function propsTold({ props }: Dumped, { sanitized }: Revision, by: 'svn' | 'http'): unknown[] {
  const told = (name: string, field: string): string | null => {
    const bytes = props.get(name)
    if (bytes === undefined) return null
    const { text, intact } = decodeText(bytes)
    expect([field, intact || sanitized.includes(field)]).toEqual([field, true])
    return text
  }
  const date = told('svn:date', 'date')
  const log = told('svn:log', 'message')
  // Over http a message travels as XML, whose reader makes every line end one LF.
  const message = by === 'http' ? (log?.replace(/\r\n?/g, '\n') ?? null) : log
  const at = date === null ? Number.NaN : Date.parse(date)
  return [told('svn:author', 'author'), message, Number.isNaN(at) ? null : at, Number.isNaN(at) ? date : null]
}
