import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { embeddedUrl, freshDatabase, servers, type TestDatabase } from '../helpers/database.ts'
import { hasSvn, makeRepository, startServer } from '../helpers/svn.ts'
import { grow } from '../helpers/svn-scene.ts'
import { openShell, type Shell } from './command-line.ts'
import { A, B, blocksOf, here, linesOf, sayIfAbsent, statementsIn } from './printed.ts'
import { makeRows, type Rows, undone } from './rows.ts'
import { filled, normalised, STATEMENTS } from './statements.ts'

sayIfAbsent()

describe.skipIf(!here)('the statements as the runbooks print them', () => {
  const printed = statementsIn(B).concat(statementsIn(A))

  test('are the ones tested one by one, in the same order', () => {
    expect(printed.map(normalised)).toEqual(STATEMENTS.map((s) => normalised(s.sql)))
  })

  describe.each(servers())('on the $name server', ({ url }) => {
    let db: TestDatabase
    let made: Rows
    beforeAll(async () => {
      db = await freshDatabase(url)
      made = await makeRows(db.pool)
    })
    afterAll(() => db.drop())

    test.each(printed.map((sql, i) => ({ no: i + 1, sql })))(
      'statement $no runs verbatim',
      async ({ sql }) => {
        await undone(db.pool, async (tx) => {
          const found = await tx.query(filled(sql, { jobId: made.jobs.dead, repoId: made.repoId }))
          expect(found.rowCount).toBeGreaterThan(0)
        })
      },
    )

    test('every table and key that the other runbook names in backticks is there', async () => {
      const names = [...new Set([...A.matchAll(/`((?:ing|uk)_[a-z_]+)`/g)].map((m) => m[1] as string))]
      expect(names.length).toBeGreaterThan(8)
      for (const name of names) {
        const { rows } = await db.pool.query('select relkind from pg_class where relname = $1', [name])
        expect(rows, name).toEqual([{ relkind: name.startsWith('uk_') ? 'i' : 'r' }])
      }
    })
  })
})

describe.skipIf(!here)('the runner chapter', () => {
  const chapter = B.slice(B.indexOf('### Runner'), B.indexOf('### 循环模式参数'))
  const lines = linesOf(chapter).map((line) =>
    line.replace(/^python -m engram\.logbook\.cli\.scm_sync/, 'engram-scm-sync'),
  )
  const CASES = lines.map((line) => ({ line }))
  let db: TestDatabase
  let shell: Shell
  beforeAll(async () => {
    db = await freshDatabase(embeddedUrl())
    shell = openShell({ POSTGRES_DSN: db.dsn })
    const added = await shell.run(`engram-scm-sync repos add git:${shell.repo.dir}`)
    expect(added.code, added.stderr).toBe(0)
  })
  afterAll(async () => {
    await shell.close()
    await db.drop()
  })

  test('has its twelve commands', () => {
    expect(lines).toHaveLength(12)
    for (const line of lines) expect(line).toMatch(/^engram-scm-sync runner (incremental|backfill) --repo /)
  })

  test.each(CASES)('refuses clearly what is not there yet: $line', async ({ line }) => {
    const { code, stdout, stderr } = await shell.run(line)
    expect(code).toBe(2)
    const said = line.includes('--json') ? JSON.parse(stdout).error : stderr.split('\n')[0]
    expect(said).toMatch(/is not registered$|cannot be synced yet$/)
  })

  // Revisions are Subversion's alone: a git repository has none to put in their place.
  test.each(CASES.filter(({ line }) => !line.includes('--start-rev')))(
    'works with a git repository: $line',
    async ({ line }) => {
      const ours = line.replace('gitlab:123', `git:${shell.repo.dir}`).replace('--job mrs', '--job commits')
      const ended = await shell.run(ours, { stopAfterFirstLine: ours.includes('--loop') })
      expect(ended.code, ended.stderr).toBe(0)
      if (ours.includes('--json')) expect(JSON.parse(ended.stdout)).toMatchObject({ exit_code: 0 })
    },
  )

  test.skipIf(!hasSvn)('works with a Subversion repository: the line with --start-rev', async () => {
    const repo = makeRepository(await startServer(), 'repo')
    grow(repo, 520)
    const added = await shell.run(`engram-scm-sync repos add svn:${repo.url}`)
    expect(added.code, added.stderr).toBe(0)
    const found = lines.filter((line) => line.includes('--start-rev'))
    expect(found).toHaveLength(1)
    const ended = await shell.run(
      `${(found[0] as string).replace('https://svn.example.com/repo', repo.url)} --json`,
    )
    expect(ended.code, ended.stderr).toBe(0)
    expect(JSON.parse(ended.stdout)).toMatchObject({ total_chunks: 5, total_items_synced: 401, exit_code: 0 })
  })

  test('our reports have every field of the printed ones, under the same name', async () => {
    const printed = blocksOf(chapter).filter((b) => b.language === 'json')
    expect(printed).toHaveLength(2)
    for (const { body } of printed) {
      const phase = /"phase": "(\w+)"/.exec(body)?.[1]
      const window = phase === 'backfill' ? '--last-hours 24' : ''
      const ended = await shell.run(
        `engram-scm-sync runner ${phase} --repo git:${shell.repo.dir} ${window} --json`,
      )
      const ours = JSON.parse(ended.stdout)
      const keys = Object.keys(ours).concat(Object.keys(ours.chunk_results?.[0] ?? {}))
      for (const [, key] of body.matchAll(/"(\w+)":/g)) expect(keys).toContain(key)
    }
  })
})
