/**
 * `npm run quickstart [-- <path or URL>]`: the whole circle once, on a database that starts itself. Every step is a
 * command you can type; the repository is this checkout unless you name another.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import pg from 'pg'

// A database of your own is not started from here, only brought up to date.
const { LOGBOOK_DSN, POSTGRES_DSN, DATABASE_URL } = process.env
const dsn = LOGBOOK_DSN || POSTGRES_DSN || DATABASE_URL
const root = fileURLToPath(new URL('..', import.meta.url))
const target = process.argv[2] ?? root
const repo = target.startsWith('git:') && !target.startsWith('git://') ? target : `git:${target}`

if (!existsSync(`${root}dist`)) spawnSync(process.execPath, [`${root}build.mjs`], { stdio: 'inherit' })

step('db', dsn ? 'migrate' : 'up')
step('repos', 'add', repo)
step('scheduler', '--once')
step('worker', '--drain')
step('reaper', '--once')
step('status')
await newestCommits()
process.stdout.write(`
Look further:
  npx engram-scm-sync status                        what was synced, what is in hand
  npx engram-scm-sync scheduler --loop, worker, reaper --loop
                                                    the same for all repositories, for ever
  npx engram-scm-sync runner incremental --help     one repository at once; the scheduler asks each once an hour
  psql "$(npx engram-scm-sync db url)"              the tables: scm.git_commits, scm.git_refs, scm.v_facts
  npx engram-scm-sync db down                       stop the database; everything stored stays
`)

function step(...args) {
  process.stdout.write(
    `\n$ engram-scm-sync ${args.map((a) => (/^[\w:/.@+-]+$/.test(a) ? a : JSON.stringify(a))).join(' ')}\n`,
  )
  const { status } = spawnSync(process.execPath, [`${root}bin/engram-scm-sync.js`, ...args], {
    stdio: 'inherit',
    env: { ENGRAM_SCM_LOG_LEVEL: 'error', ...process.env },
  })
  if (status !== 0) process.exit(status ?? 2)
}

async function newestCommits() {
  const sql = `select ts, author_name, split_part(message, E'\\n', 1) as subject from scm.git_commits
 where repo_id = (select repo_id from scm.sync_runs order by started_at desc limit 1)
   and unreachable_since is null order by ts desc nulls last limit 5`
  process.stdout.write(`\n$ psql "$(engram-scm-sync db url)" -c "${sql}"\n`)
  const { stdout } = spawnSync(process.execPath, [`${root}bin/engram-scm-sync.js`, 'db', 'url'], {
    encoding: 'utf8',
  })
  const client = new pg.Client({ connectionString: dsn || stdout.trim() })
  await client.connect()
  const { rows } = await client.query(sql)
  await client.end()
  const table = new Table({ head: ['committed', 'author', 'subject'], style: { head: [], border: [] } })
  for (const r of rows) table.push([r.ts?.toISOString() ?? '-', plain(r.author_name), plain(r.subject)])
  process.stdout.write(`${table}\n`)
}

/** What other people wrote must not steer this terminal. */
function plain(text) {
  return text.replace(/[^\P{C}]/gu, '·').slice(0, 70)
}
