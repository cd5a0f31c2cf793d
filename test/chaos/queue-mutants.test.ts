/** A checker that never failed proves nothing: each of these queues is wrong in one place, and has to be found out. */
import type pg from 'pg'
import { describe, expect, test } from 'vitest'
import { embeddedUrl } from '../helpers/database.ts'
import { type Fault, race } from './queue-race.ts'
import { chance, say, size } from './size.ts'

/** Races until the fault is found, each to its end: some faults show only when all is drained. */
const RACES = size('QUEUE_MUTANT_RACES', 10, 40)
const OPERATIONS = 800
/** The first of the list; the long form plants all. */
const PLANTED = size('QUEUE_FAULTS', 8, 100)

type Edit = (text: string) => string

/** Insists that something is changed: a fault that was not planted is not found either. */
const edited = (text: string, edit: Edit): string => {
  const planted = edit(text)
  if (planted === text) throw new Error('the fault could not be planted: the text has changed')
  return planted
}

/** In a function of the database. */
const inFunction =
  (name: string, edit: Edit) =>
  async (db: pg.Pool): Promise<void> => {
    const { rows } = await db.query('select pg_get_functiondef($1::regproc) as text', [name])
    await db.query(edited(rows[0].text, edit))
  }

/** In a statement that is sent. */
const inStatement =
  (statement: string, edit: Edit) =>
  (name: string, text: string): string =>
    name === statement ? edited(text, edit) : text

/** The condition holds always. */
const without =
  (condition: RegExp, holds = 'true'): Edit =>
  (text) =>
    text.replace(condition, holds)

const FAULTS: [string, Fault, RegExp][] = [
  [
    'a completion without a fence',
    {
      plant: inFunction('scm.complete_jobs', (text) =>
        text
          .replace(/\b(t\.)?fence = any\(fences\)/g, 'true')
          // Or the run of another owner, for which nothing was sent, could not be written.
          .replace(/run_stats\[array_position\(run_ids, id\)\]/, `'{}'`),
      ),
    },
    /another fence than the job has/,
  ],
  [
    'a lapsed lease that is taken on beyond its attempts',
    { plant: inFunction('scm.claim_jobs', without(/\battempts < max_attempts/)) },
    /beyond its attempts/,
  ],
  [
    'a reaper that does not ask whether the lease is over',
    {
      rewrite: inStatement('reap_jobs', without(/t\.lease_until < now\(\) - make_interval\(secs => \$1\)/g)),
    },
    /a live lease was reaped/,
  ],
  [
    'an active key that forgets what failed',
    { rewrite: inStatement('job_fail', (text) => text.replace('else active_key end', 'end')) },
    /an active key was lost/,
  ],
  [
    'a claim that locks and counts in one statement',
    {
      plant: inFunction('scm.claim_jobs', (text) =>
        text
          .replace(/perform pg_advisory_xact_lock\(7301\);/, '')
          .replace(
            /(select least\(wanted, max_running - count\(\*\)\) into room\s+from )/,
            '$1(select pg_advisory_xact_lock(7301) offset 0) taken, ',
          ),
      ),
    },
    /too many/,
  ],
  [
    'a renewal that does not ask whether the lease is over',
    { rewrite: inStatement('job_renew', without(/\b(t\.)?lease_until > clock_timestamp\(\)/g)) },
    /a lapsed lease was renewed/,
  ],
  [
    'a claim that does not mind who runs the same pair',
    {
      plant: async (db) => {
        await inFunction('scm.hold_jobs', (text) =>
          text.replace(/where sync_locks\.locked_at[^\n]*\n/, '\n'),
        )(db)
        await inFunction('scm.claim_jobs', (text) =>
          text.replace(/s\.locked_at \+ make_interval\(secs => s\.lease_seconds\) >= now\(\)/, 'false'),
        )(db)
      },
    },
    /one pair ran twice|has no lock/,
  ],
  [
    'a claim that ignores pauses',
    {
      plant: inFunction(
        'scm.claim_jobs',
        without(/\(select scm\.paused_until\(p\.value_json\)[^)]*\) is not null/, 'false'),
      ),
    },
    /a paused pair was claimed/,
  ],
  [
    'a renewal without a fence',
    { rewrite: inStatement('job_renew', without(/t\.fence = any\(\$2\)/, '$$2::bigint[] is not null')) },
    /another fence than the job has/,
  ],
  [
    'a claim that ignores the breaker',
    {
      plant: inFunction('scm.claim_jobs', (text) =>
        text.replace("scm.breaker_state(value_json) <> 'closed'", 'false'),
      ),
    },
    /the breaker was open/,
  ],
  [
    'a claim without its lock',
    {
      plant: inFunction('scm.claim_jobs', (text) =>
        text.replace(/perform pg_advisory_xact_lock\(7301\);/, ''),
      ),
    },
    /too many/,
  ],
  [
    'a lane that takes the youngest first',
    {
      plant: inFunction('scm.claim_jobs', (text) =>
        text.replaceAll(/order by (t|c)\.priority, (t|c)\.scheduled_at, (t|c)\.id\b/g, 'order by $1.id desc'),
      ),
    },
    /before another of its lane/,
  ],
  [
    'a removed pause that wakes nobody',
    { plant: (db) => db.query('drop trigger pause_has_changed on logbook.kv').then(() => {}) },
    /never reached/,
  ],
  [
    'a job that is ready and has no lane',
    { plant: (db) => db.query('drop trigger job_becomes_ready on ing_task').then(() => {}) },
    /never reached/,
  ],
]

describe('the checker finds', () => {
  test.each(FAULTS.slice(0, PLANTED))('%s', async (what, fault, rule) => {
    const { random } = chance(what)
    const broken: string[] = []
    let operations = 0
    for (let n = 0; n < RACES && !broken.some((line) => rule.test(line)); n++) {
      const ran = await race(embeddedUrl(), { seed: random() * 2 ** 32, operations: OPERATIONS, ...fault })
      broken.push(...ran.broken)
      operations += ran.operations
    }
    say(`found after ${operations} operations: ${broken.find((line) => rule.test(line))?.slice(0, 120)}`)
    expect(broken).toContainEqual(expect.stringMatching(rule))
  })
})
