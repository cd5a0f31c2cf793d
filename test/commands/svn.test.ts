import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { runHere } from '../helpers/one-process.ts'
import { hasSvn, makeRepository, type SvnRepo, startServer } from '../helpers/svn.ts'
import { grow } from '../helpers/svn-scene.ts'

/** Subversion as an operator meets it: the built program against svnserve with a password, from `repos add` to the rows. */
const PASSWORD = 'pw-canary-5d1c90ab'

describe.runIf(hasSvn)('Subversion on the command line', () => {
  let db: TestDatabase
  let repo: SvnRepo
  let env: Record<string, string>
  let ref: string
  const said: string[] = []
  const sync = async (args: string, more: Record<string, string> = {}) => {
    const ran = await runHere([...args.split(' '), '--json'], { env: { ...env, ...more } })
    said.push(ran.out, ran.err)
    return { ...ran, report: ran.json()[0] as Record<string, unknown> }
  }

  beforeAll(async () => {
    db = await freshDatabase(embeddedUrl())
    repo = makeRepository(await startServer(), 'repo')
    grow(repo, 230)
    writeFileSync(
      join(repo.dir, 'conf/svnserve.conf'),
      '[general]\nanon-access = none\nauth-access = read\npassword-db = passwd\n',
    )
    writeFileSync(join(repo.dir, 'conf/passwd'), `[users]\nmara = ${PASSWORD}\n`)
    env = { POSTGRES_DSN: db.dsn, SVN_USERNAME: 'mara', SVN_PASSWORD: PASSWORD, PATH: process.env.PATH ?? '' }
    ref = `svn:${repo.url}`
  })
  afterAll(() => db?.drop())

  test('added, synced, filled and looked at; the password is nowhere', async () => {
    expect((await sync(`repos add ${ref}`)).report).toMatchObject({ repo: ref, created: true })
    expect((await sync(`runner incremental --repo ${ref}`, { SVN_PASSWORD: 'wrong' })).report).toMatchObject({
      status: 'failed',
      kind: 'auth',
      hint: expect.stringContaining('SVN_PASSWORD'),
    })
    expect((await sync(`runner incremental --repo ${ref}`)).report).toMatchObject({
      status: 'success',
      items_synced: 230,
    })
    const filled = await sync(`runner backfill --repo ${ref} --start-rev 100 --update-watermark`)
    expect(filled.report).toMatchObject({
      status: 'success',
      total_chunks: 2,
      total_items_synced: 0,
      total_items_skipped: 131,
      watermark_updated: false,
      watermark_before: '230',
    })
    expect(Object.keys((filled.report.chunk_results as object[])[0] as object)).toEqual([
      'chunk_index',
      'chunk_total',
      'status',
      'synced_count',
      'skipped_count',
      'failed_count',
      'window_type',
      'start_rev',
      'end_rev',
      'error',
    ])
    expect((await sync('status')).report).toMatchObject({
      cursors: [{ key: 'svn_cursor:1', repo: ref, watermark: '230' }],
      facts: [{ repo: ref }],
    })
    const dry = await run(['runner', 'backfill', '--repo', ref, '--start-rev', '150', '--dry-run'], { env })
    expect(dry.out).toMatch(/chunk\s.*first\s.*last/)
    expect(dry.out).toMatch(/150\s.*230\s.*81/)

    const { rows } = await db.pool.query(
      `select (select json_agg(p)::text from ing_schedule_instance p) || (select json_agg(t)::text from ing_task t)
           || (select json_agg(r)::text from scm.repos r) as all`,
    )
    for (const text of [...said, dry.out, dry.err, rows[0].all]) expect(text).not.toContain(PASSWORD)
  }, 60_000)

  test('what cannot be is refused in one line, with exit 2', async () => {
    for (const [args, says] of [
      ['--last-days 1 --update-watermark', /a time moves it nowhere/],
      ['--start-rev 231', /--start-rev 231 is after r230, where the repository ends/],
      ['--end-rev 231 --update-watermark', /ends at r230/],
      ['--job mrs --start-rev 1', /a svn repository has no mrs/],
    ] as const) {
      const refused = await sync(`runner backfill --repo ${ref} ${args}`)
      expect(refused, args).toMatchObject({ code: 2 })
      expect(refused.report).toMatchObject({ kind: 'usage', error: expect.stringMatching(says) })
    }
  })
})
