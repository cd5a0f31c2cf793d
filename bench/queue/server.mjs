import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'

/** Of the bench's own server, beside what the embedded one always has; an external one is taken as it is. */
const OURS = {
  shared_buffers: '1GB', // a million jobs stay in memory, whoever made them
  max_wal_size: '8GB',
  checkpoint_timeout: '30min', // none in the middle of a measurement
  temp_file_limit: '4GB', // a statement that spills without end fails before the disk is full
}

const SHOWN = [
  'fsync',
  'synchronous_commit',
  'full_page_writes',
  'shared_buffers',
  'max_wal_size',
  'random_page_cost',
  'autovacuum',
  'jit',
]

/** The one server everybody is measured on: BENCH_DSN's, or an embedded one in `dir` that ends with the run. */
export async function startServer(engine, dir) {
  if (process.env.BENCH_DSN) return describe(process.env.BENCH_DSN, async () => {})
  const baseDir = join(dir, 'pg')
  const stop = () => engine.stopServer({ baseDir })
  chmodSync(dir, 0o755)
  try {
    const first = await engine.ensureServer({ baseDir })
    const admin = await connect(first.dsn)
    for (const [name, value] of Object.entries(OURS)) {
      await admin.query(`alter system set ${name} = '${value}'`)
    }
    await admin.end()
    await stop()
    const { dsn } = await engine.ensureServer({ baseDir })
    return await describe(dsn, stop)
  } catch (error) {
    await stop() // it has a session of its own and would outlive us
    throw error
  }
}

async function describe(dsn, stop) {
  const admin = await connect(dsn)
  const settings = await admin.query(
    `select name, current_setting(name) as value from unnest($1::text[]) with ordinality as x(name, n) order by n`,
    [SHOWN],
  )
  const version = (await admin.query('show server_version')).rows[0].server_version
  let made = 0
  return {
    version,
    settings: settings.rows.map((r) => `${r.name} ${r.value}`).join(', '),
    /** A new database, empty or a copy of one that nobody is connected to; its DSN. */
    async database(template) {
      const name = `bench_${process.pid}_${++made}`
      await admin.query(`create database ${name}${template ? ` template ${nameIn(template)}` : ''}`)
      return withName(dsn, name)
    },
    async drop(of) {
      await admin.query(`drop database ${nameIn(of)} with (force)`)
    },
    async stop() {
      await admin.end()
      await stop()
    },
  }
}

/** A connection that does not mind the server's end. */
export async function connect(dsn) {
  const client = new pg.Client({ connectionString: dsn })
  client.on('error', () => {})
  await client.connect()
  return client
}

const withName = (dsn, name) => dsn.replace(/^(\w+:\/\/[^/]*\/)[^?]*/, `$1${name}`)
const nameIn = (dsn) => /^\w+:\/\/[^/]*\/([^?]*)/.exec(dsn)[1]
