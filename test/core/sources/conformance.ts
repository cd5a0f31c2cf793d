import { readdirSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { SyncError } from '../../../src/core/domain/errors.ts'
import type { Ask, Page, Refetch } from '../../../src/core/sources/source.ts'
import { tempFolder } from '../../helpers/git-repo.ts'
import { type Engine, openEngine } from './conformance/engine.ts'
import { Memory } from './conformance/memory.ts'
import { endOf, keysOf, leavesNothing, readInto, sorted } from './conformance/reading.ts'
import { recordsIn, unlike } from './conformance/rows.ts'
import type { MakeUpstream, Refused, Truth, Upstream } from './conformance/upstream.ts'

/** What every source promises, and the program with it. A rule throws what breaks it. */
export const RULES = {
  'the first read brings everything, each once, and is at least one page': everythingOnce,
  'the same comes in pages of 1, 2, 7 and 1000, and no page holds more': anyPageSize,
  'resumed behind any page, a read brings exactly the rest': resumesExactly,
  'resumed while the upstream has changed, nothing is lost': resumesChanged,
  'where a total is told, a read ends at it, and a read of a window too': totals,
  'resumed, a read counts on from what was done': countsOn,
  'the next read brings only what is new, and a quiet one nothing': onlyNews,
  'what changed or was taken away upstream is stored as it is, and nothing is removed': changes,
  'a cache that was deleted meanwhile changes nothing of what is stored': cacheLost,
  'what is asked for again comes again, as it was': comesAgain,
  'a window of time is read from its beginning to just before its end, and lands nothing': windows,
  'a survey asks the upstream, leaves nothing behind, and counts what a read brings': surveys,
  'the signal ends a reading before it opens and between two pages': aborts,
  'the signal ends a wait for an upstream that is silent, and nothing is left running': abortsWaiting,
  'a consumer that leaves after the first page leaves nothing behind': leaves,
  'hostile text is stored, and the row says where it was cleaned': hostile,
  'an upstream that fails in the middle is a failure, never a success with less': fails,
  'an unknown repository and wrong credentials are refused in one line without a secret': refuses,
  'what was learnt opens it again, and no more is asked than the first time': learns,
} satisfies Record<string, (make: MakeUpstream) => Promise<void>>

/** The same, as the tables have it. */
export const STORED = {
  'everything, then what is new, changed and gone; nothing is removed': tablesFollow,
  'a quiet sync leaves one run, and no batch, no event, no cursor that moved': tablesQuiet,
  'what is read again, all or from a date, changes no row': tablesAgain,
  'a backfill brings its window and moves no cursor': tablesWindow,
  'a dry run writes nothing, and says what the sync then stores': tablesDry,
  'a sync that fails or is stopped loses nothing': tablesFail,
  'hostile text is there, and the row says where it was cleaned': tablesHostile,
} satisfies Record<string, (make: MakeUpstream) => Promise<void>>

/** Registers a test for every rule. `skip` says why one cannot hold. */
export function conforms(name: string, make: MakeUpstream, { skip = {} }: Skipped = {}): void {
  register(name, make, RULES, skip)
}

export function conformsInTables(name: string, make: MakeUpstream, { skip = {} }: Skipped = {}): void {
  register(name, make, STORED, skip)
}

type Check = (make: MakeUpstream) => Promise<void>
type Rule = keyof typeof RULES | keyof typeof STORED
export interface Skipped {
  skip?: Partial<Record<Rule, string>>
}

function register(
  name: string,
  make: MakeUpstream,
  rules: Record<string, Check>,
  skip: Partial<Record<string, string>>,
): void {
  describe(name, () => {
    for (const [rule, check] of Object.entries(rules)) {
      const why = skip[rule]
      test.skipIf(why !== undefined)(why === undefined ? rule : `${rule} (${why})`, () =>
        checked(check, make),
      )
    }
  })
}

/** A rule with an upstream of its own for each that it asks for; all are stopped, and the databases dropped. */
export async function checked(
  check: (make: MakeUpstream) => Promise<void>,
  make: MakeUpstream,
): Promise<void> {
  const made: Upstream[] = []
  try {
    await check(async () => {
      const upstream = await make()
      made.push(upstream)
      return upstream
    })
  } finally {
    for (const engine of opened.splice(0)) await engine.drop()
    for (const upstream of made) {
      upstream.heal()
      await upstream.stop()
    }
  }
}

const COUNT = 13

async function started(make: MakeUpstream, count = COUNT): Promise<{ upstream: Upstream; memory: Memory }> {
  const upstream = await make()
  if (count > 0) upstream.add(count)
  return { upstream, memory: new Memory(upstream) }
}

function holds({ rows, upstream }: Memory, before: Iterable<string> = []): void {
  expect(unlike(rows, upstream.truth(), before)).toEqual([])
}

async function everythingOnce(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make)
  const pages = await readInto(memory)
  expect(sorted(keysOf(pages, upstream))).toEqual(sorted(upstream.truth().keys()))
  expect(pages.length).toBeGreaterThan(1)
  holds(memory)

  const { memory: empty } = await started(make, 0)
  const [page, ...more] = await readInto(empty)
  expect(more).toEqual([])
  expect(recordsIn((page as Page).facts, upstream.job)).toBe(0)
}

async function anyPageSize(make: MakeUpstream): Promise<void> {
  const { upstream } = await started(make)
  let all: unknown
  for (const pageSize of [1000, 7, 2, 1]) {
    const memory = new Memory(upstream)
    const pages = await readInto(memory, { pageSize })
    expect(keysOf(pages, upstream)).toHaveLength(upstream.truth().size)
    holds(memory)
    const rows = [...memory.rows].sort(([a], [b]) => (a < b ? -1 : 1))
    all ??= rows
    expect(rows).toEqual(all)
  }
}

async function totals(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make)
  const { since, until } = windowIn(upstream)
  for (const ask of [memory.ask(), { window: 'time', of: upstream.job, since, until } as const]) {
    const last = (await readInto(new Memory(upstream), { ask, pageSize: 3 })).at(-1) as Page
    if (last.total !== null) expect(last.done, ask.window).toBe(last.total)
  }
}

async function countsOn(make: MakeUpstream): Promise<void> {
  const { upstream } = await started(make)
  const whole = await readInto(new Memory(upstream), { pageSize: 3 })
  const memory = await interrupted(upstream, whole.length - 1, 3)
  expect((await readInto(memory, { pageSize: 3 })).at(-1)?.done).toBe(whole.at(-1)?.done)
}

/** Stops after so many pages; the next read of this memory goes on there. */
async function interrupted(upstream: Upstream, pages: number, pageSize: number): Promise<Memory> {
  const memory = new Memory(upstream)
  await readInto(memory, { pages, pageSize })
  return memory
}

async function resumesExactly(make: MakeUpstream): Promise<void> {
  const { upstream } = await started(make)
  const pageSize = 4
  const whole = await readInto(new Memory(upstream), { pageSize })
  for (let n = 1; n < whole.length; n++) {
    const memory = await interrupted(upstream, n, pageSize)
    const rest = await readInto(memory, { pageSize })
    expect(rest[0]?.restarted).toBeUndefined()
    expect(sorted(keysOf(rest, upstream)), `behind page ${n} of ${whole.length}`).toEqual(
      sorted(keysOf(whole.slice(n), upstream)),
    )
    expect(rest.at(-1)?.landing).toEqual(whole.at(-1)?.landing)
    holds(memory)
  }
}

async function resumesChanged(make: MakeUpstream): Promise<void> {
  for (const n of [1, 3]) {
    const { upstream } = await started(make)
    const memory = await interrupted(upstream, n, 4)
    const before = [...upstream.truth().keys()]
    upstream.add(3)
    upstream.change()
    upstream.vanish?.()
    upstream.add(1)
    await readInto(memory, { pageSize: 3 })
    // What was gone before it could be read need not come.
    const there = upstream.truth()
    const missed = before.filter((key) => there.has(key) && !memory.rows.has(key))
    expect(missed, `stopped after page ${n}`).toEqual([])
    await readInto(memory)
    if (upstream.changesShow === 'when read again') await readInto(memory, { ask: memory.ask('beginning') })
    holds(
      memory,
      before.filter((key) => there.has(key)),
    )
  }
}

async function onlyNews(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make)
  await readInto(memory)
  await isQuiet(memory)
  for (const count of [1, 5]) {
    const before = new Set(upstream.truth().keys())
    upstream.add(count)
    const pages = await readInto(memory)
    const news = [...upstream.truth().keys()].filter((key) => !before.has(key))
    expect(sorted(keysOf(pages, upstream))).toEqual(sorted(news))
    holds(memory)
    await isQuiet(memory)
  }
}

async function isQuiet(memory: Memory): Promise<void> {
  const before = { heads: memory.heads, position: memory.position, scanned: memory.scanned }
  const [page, ...more] = await readInto(memory)
  expect(more).toEqual([])
  expect(recordsIn((page as Page).facts, memory.upstream.job)).toBe(0)
  expect({ heads: memory.heads, position: memory.position, scanned: memory.scanned }).toEqual(before)
  const { heads } = (page as Page).landing ?? {}
  if (heads) expect([heads.moves, heads.unreachable]).toEqual([[], []])
}

async function changes(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make)
  await readInto(memory)
  const before = [...memory.rows.keys()]
  for (const act of [() => upstream.change(), () => upstream.vanish?.(), () => upstream.add(2)]) {
    act()
    const ask = upstream.changesShow === 'at once' ? memory.ask() : memory.ask('beginning')
    await readInto(memory, { ask })
    holds(memory, before)
  }
  const gone = [...memory.rows.values()].filter((row) => row.gone)
  if (upstream.vanish) expect(gone.length).toBeGreaterThan(0)
}

async function cacheLost(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make)
  await readInto(memory)
  const before = [...memory.rows.keys()]
  upstream.change()
  upstream.vanish?.()
  upstream.add(1)
  const ask = upstream.changesShow === 'at once' ? memory.ask() : memory.ask('beginning')
  await readInto(memory, { ask, access: { cacheDir: tempFolder() } })
  holds(memory, before)
}

async function comesAgain(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make)
  await readInto(memory)
  const { written } = memory
  const times = [...upstream.truth().values()].map(({ at }) => at).sort((a, b) => a - b)
  const from = times[Math.floor(times.length / 2)] as number
  const again: [Refetch | number, (key: string, truth: Truth) => boolean][] = [
    ['beginning', () => true],
    upstream.kind === 'svn'
      ? [COUNT - 4, (key) => Number(key.slice(1)) >= COUNT - 4]
      : [new Date(from), (_, { at }) => at >= from],
  ]
  for (const [refetch, isAsked] of again) {
    const pages = await readInto(memory, { ask: memory.ask(refetch) })
    const asked = [...upstream.truth()].filter(([key, truth]) => isAsked(key, truth)).map(([key]) => key)
    expect(keysOf(pages, upstream)).toEqual(expect.arrayContaining(asked))
    expect(memory.written).toBe(written)
    holds(memory)
  }
}

/** A window whose beginning and end are both times at which something was. */
function windowIn(upstream: Upstream): { since: Date; until: Date; inside: string[] } {
  const rows = [...upstream.truth()]
  const times = [...new Set(rows.map(([, { at }]) => at))].sort((a, b) => a - b)
  const [since, until] = [times[Math.floor(times.length / 4)], times[Math.floor((times.length * 3) / 4)]] as [
    number,
    number,
  ]
  const inside = rows.filter(([, { at }]) => at >= since && at < until).map(([key]) => key)
  return { since: new Date(since), until: new Date(until), inside }
}

async function windows(make: MakeUpstream): Promise<void> {
  const { upstream } = await started(make)
  const { since, until, inside } = windowIn(upstream)
  expect(inside.length).toBeGreaterThan(3)
  const ask: Ask = { window: 'time', of: upstream.job, since, until }
  const memory = new Memory(upstream)
  const pages = await readInto(memory, { ask, pageSize: 3 })
  expect(sorted(keysOf(pages, upstream))).toEqual(sorted(inside))

  const nothing = { ask: { ...ask, since: until, until } }
  expect(keysOf(await readInto(new Memory(upstream), nothing), upstream)).toEqual([])

  const cut = new Memory(upstream)
  await readInto(cut, { ask, pageSize: 3, pages: 1 })
  await readInto(cut, { ask, pageSize: 3 })
  expect(sorted(cut.rows.keys())).toEqual(sorted(inside))
}

async function surveys(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make)
  const { cacheDir } = memory
  const surveyed = async (ask: Ask): Promise<number | null> => {
    const [before, calls] = [readdirSync(cacheDir, { recursive: true }), upstream.requests()]
    const access = upstream.access({ cacheDir })
    const [survey, ...more] = await upstream.source.survey(access, [ask])
    expect(more).toEqual([])
    expect(readdirSync(cacheDir, { recursive: true })).toEqual(before)
    if (calls !== null) expect(upstream.requests()).toBeGreaterThan(calls)
    return survey?.items ?? null
  }
  const { since, until } = windowIn(upstream)
  const asks: [ask: () => Ask, before: () => unknown][] = [
    [() => memory.ask(), () => {}],
    [() => memory.ask(), () => {}],
    [() => memory.ask(), () => upstream.add(3)],
    [() => ({ window: 'time', of: upstream.job, since, until }), () => {}],
    [() => memory.ask('beginning'), () => {}],
  ]
  for (const [makeAsk, before] of asks) {
    before()
    const ask = makeAsk()
    const items = await surveyed(ask)
    const pages = await readInto(memory, { ask })
    const came = pages.reduce((sum, { facts }) => sum + recordsIn(facts, upstream.job), 0)
    // An MR updated at the very end of a window may be counted: the upstream's bound is inclusive.
    const slack = ask.window === 'time' && ['mrs', 'reviews'].includes(upstream.job) ? 1 : 0
    if (items !== null)
      expect(Math.abs(items - came), `${items} said, ${came} came`).toBeLessThanOrEqual(slack)
  }
  upstream.fail(0)
  await expect(surveyed(memory.ask())).rejects.toBeInstanceOf(SyncError)
}

/** A second, and half of one for a machine that is busy. */
const SOON_MS = 1500

/** What a reading that is stopped throws: the signal's reason, or `cancelled`. */
async function stopped(act: (stop: AbortController) => Promise<unknown>): Promise<void> {
  const stop = new AbortController()
  const late = new Promise<string>((tell) => {
    const wait = (): unknown => setTimeout(tell, SOON_MS, `nothing ended within ${SOON_MS} ms`)
    stop.signal.addEventListener('abort', wait)
  })
  const error = await Promise.race([act(stop), late])
  if (error !== stop.signal.reason) expect(error).toMatchObject({ name: 'SyncError', kind: 'cancelled' })
}

async function aborts(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make)
  const ask = memory.ask()
  const openBy = (stop: AbortController) =>
    upstream.source.open(upstream.access({ pageSize: 1, signal: stop.signal }))
  await leavesNothing(upstream, () =>
    stopped(async (stop) => {
      stop.abort()
      return endOf(openBy(stop), ask)
    }),
  )
  await leavesNothing(upstream, () =>
    stopped(async (stop) => {
      const reading = await openBy(stop)
      try {
        for await (const _ of reading.pages(ask, null)) stop.abort()
      } catch (error) {
        return error
      }
      return 'it read on to the end'
    }),
  )
}

async function abortsWaiting(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make, 1)
  const { hang } = upstream
  if (hang === undefined) return
  await leavesNothing(upstream, () =>
    stopped(async (stop) => {
      hang()
      const calls = upstream.requests() ?? 0
      const ended = endOf(upstream.source.open(upstream.access({ signal: stop.signal })), memory.ask())
      while ((upstream.requests() ?? 0) === calls) await pause(5)
      stop.abort()
      return ended
    }),
  )
}

async function leaves(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make, 40)
  await leavesNothing(upstream, () => readInto(memory, { pages: 1, pageSize: 1 }))
  await leavesNothing(upstream, async () => {
    const reading = await upstream.source.open(upstream.access())
    await reading.pages(memory.ask(), null).return(undefined)
  })
}

async function hostile(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make, 3)
  const told = upstream.hostile()
  await readInto(memory)
  for (const { key, text, cleaned } of told)
    expect(memory.rows.get(key)).toMatchObject({ text, sanitized: cleaned === null ? [] : [cleaned] })
}

const OUTAGES = ['network', 'upstream', 'not_found', 'timeout']

async function fails(make: MakeUpstream): Promise<void> {
  const { upstream } = await started(make)
  let failed = 0
  const attempt = async (act: (memory: Memory) => Promise<unknown>): Promise<void> => {
    const memory = new Memory(upstream)
    const error = await act(memory).then(
      () => null,
      (error: unknown) => error,
    )
    upstream.heal()
    if (error === null) return holds(memory)
    failed += 1
    if (!(error instanceof SyncError)) throw error
    expect(OUTAGES).toContain(error.kind)
    expect(error.message).toMatch(/^[^\p{Cc}]{1,400}$/u)
    await readInto(memory, { pageSize: 3 })
    holds(memory)
  }
  for (const after of upstream.requests() === null ? [0] : [0, 1, 2, 3, 5, 8]) {
    await attempt((memory) => {
      upstream.fail(after)
      return readInto(memory, { pageSize: 3 })
    })
  }
  for (const page of [1, 2])
    await attempt((memory) =>
      readInto(memory, {
        pageSize: 3,
        between: (_, n) => {
          if (n === page) upstream.fail(0)
        },
      }),
    )
  expect(failed).toBeGreaterThan(0)
}

async function refuses(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make, 1)
  const refused: Refused[] = [upstream.unknown(), ...(upstream.wrong ? [upstream.wrong()] : [])]
  for (const { source, access, secret } of refused) {
    for (const error of [
      await endOf(source.open(access), memory.ask()),
      await source.survey(access, [memory.ask()]).catch((error: unknown) => error),
    ]) {
      expect(error).toBeInstanceOf(SyncError)
      const { kind, message } = error as SyncError
      expect(['not_found', 'auth', 'permission']).toContain(kind)
      expect(message).toMatch(/^[^\p{Cc}]{1,400}$/u)
      if (secret === undefined) continue
      for (const form of [secret, encodeURIComponent(secret), btoa(secret).replace(/=+$/, '')])
        expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(form)
    }
  }
}

async function learns(make: MakeUpstream): Promise<void> {
  const { upstream, memory } = await started(make)
  const [cacheDir, calls] = [tempFolder(), () => upstream.requests() ?? 0]
  const asked = async (settings: Memory['settings']): Promise<number> => {
    const before = calls()
    const other = new Memory(upstream, cacheDir)
    other.settings = settings
    await readInto(other)
    holds(other)
    return calls() - before
  }
  const first = await asked(memory.settings)
  const learnt = JSON.stringify(memory.settings)
  for (const refused of [upstream.unknown(), upstream.wrong?.()])
    if (refused?.secret) expect(learnt).not.toContain(refused.secret)
  expect(await asked(JSON.parse(learnt))).toBeLessThanOrEqual(first)
}

const opened: Engine[] = []

async function withTables(
  make: MakeUpstream,
  count = COUNT,
): Promise<{ upstream: Upstream; engine: Engine }> {
  const upstream = await make()
  if (count > 0) upstream.add(count)
  const pages = { 'scm.git.page_size': 4, 'scm.svn.batch_size': 4, 'scm.worker.batch_size': 4 }
  const engine = await openEngine(upstream, pages)
  opened.push(engine)
  return { upstream, engine }
}

async function succeeds(engine: Engine): Promise<number> {
  const { status, error, items_synced } = await engine.incremental()
  expect({ status, error }).toEqual({ status: 'success', error: null })
  return items_synced
}

async function agrees(
  upstream: Upstream,
  engine: Engine,
  before: Iterable<string> = [],
  edited = false,
): Promise<void> {
  expect(unlike(await engine.rows(), upstream.truth(), before)).toEqual([])
  expect(await engine.ledger(edited)).toEqual([])
}

/** As if a day had passed: revisions that may have been edited are then read again. */
async function aDayLater({ query }: Engine): Promise<void> {
  await query(`update scm.repos set settings = settings - 'rescanned_at'`)
}

async function tablesFollow(make: MakeUpstream): Promise<void> {
  const { upstream, engine } = await withTables(make)
  await succeeds(engine)
  await agrees(upstream, engine)
  const before = [...(await engine.rows()).keys()]
  for (const act of [() => upstream.add(6), () => upstream.change(), () => upstream.vanish?.()]) {
    act()
    if (upstream.changesShow === 'when read again') await aDayLater(engine)
    await succeeds(engine)
    await agrees(upstream, engine, before)
  }
  const marked = [...(await engine.rows()).values()].some(({ gone }) => gone)
  expect(marked).toBe(upstream.vanish !== undefined)
}

async function tablesQuiet(make: MakeUpstream): Promise<void> {
  const { upstream, engine } = await withTables(make)
  await succeeds(engine)
  const count = async () => {
    const [row] = await engine.query<Record<string, number>>(
      `select (select count(*)::int from ing_task_run) as runs, (select count(*)::int from ing_task_run_batch) as batches,
              (select count(*)::int from ing_cursor_event) as events,
              (select string_agg(c::text || xmin::text, ' ' order by c::text) from ing_cursor c) as cursors,
              (select string_agg(key || (value_json - 'updated_at'), ' ' order by key) from logbook.kv) as kv`,
    )
    return row as { runs: number }
  }
  const [before, versions] = [await count(), await engine.versions()]
  expect(await succeeds(engine)).toBe(0)
  expect(await count()).toEqual({ ...before, runs: before.runs + 1 })
  expect(await engine.versions()).toEqual(versions)
  await agrees(upstream, engine)
}

async function tablesAgain(make: MakeUpstream): Promise<void> {
  const { upstream, engine } = await withTables(make)
  await succeeds(engine)
  const versions = await engine.versions()
  const { since } = windowIn(upstream)
  for (const to of [null, upstream.kind === 'svn' ? null : since]) {
    await engine.setCursor(to)
    const calls = upstream.requests()
    expect(await succeeds(engine)).toBe(0)
    const [run] = await engine.query<{ scanned: number }>(
      'select coalesce(sum(record_count), 0)::int as scanned from ing_task_run_batch where run_id = (select max(id) from ing_task_run)',
    )
    expect(run?.scanned).toBeGreaterThan(3)
    if (calls !== null) expect(upstream.requests()).toBeGreaterThan(calls)
    expect(await engine.versions()).toEqual(versions)
    await agrees(upstream, engine)
  }
}

async function tablesWindow(make: MakeUpstream): Promise<void> {
  const { upstream, engine } = await withTables(make)
  const { since, until, inside } = windowIn(upstream)
  const report = await engine.backfill(since, until)
  expect({ ...report, errors: report.errors }).toMatchObject({
    status: 'success',
    errors: [],
    watermark_updated: false,
  })
  expect(sorted((await engine.rows()).keys())).toEqual(sorted(inside))
  const [cursors] = await engine.query<{ n: number }>(
    `select (select count(*) from logbook.kv where namespace = 'scm.sync')::int
          + (select count(*) from ing_cursor where operation_code = 'HARVEST')::int as n`,
  )
  expect(cursors?.n).toBe(0)
  await succeeds(engine)
  await agrees(upstream, engine)
}

async function tablesDry(make: MakeUpstream): Promise<void> {
  const { upstream, engine } = await withTables(make)
  for (const before of [() => {}, () => {}, () => upstream.add(2)]) {
    before()
    const [written, calls] = [await engine.written(), upstream.requests()]
    const { items_found: found } = await engine.preview()
    expect(await engine.written()).toEqual(written)
    if (calls !== null) expect(upstream.requests()).toBeGreaterThan(calls)
    const rows = await engine.rows()
    await succeeds(engine)
    const keys = [...(await engine.rows()).keys()].filter((key) => !rows.has(key))
    const came = new Set(keys.map((key) => (upstream.job === 'reviews' ? key.split(' ')[0] : key))).size
    if (found !== null) expect(found).toBe(came)
  }
}

async function tablesFail(make: MakeUpstream): Promise<void> {
  const { upstream, engine } = await withTables(make)
  upstream.fail(0)
  const { status, kind, exit_code } = await engine.incremental()
  expect({ status, exit_code }).toEqual({ status: 'failed', exit_code: 2 })
  expect(OUTAGES).toContain(kind)
  upstream.heal()

  const stop = new AbortController()
  const page = `select 1 from ing_task_run_batch where status_code = 'SUCCEEDED'`
  const running = engine.incremental(engine.ctx({ signal: stop.signal }))
  const watch = (async () => {
    while ((await engine.query(page)).length === 0) await pause(2)
    stop.abort()
  })()
  await Promise.all([running, watch])
  const rows = await engine.rows()
  await succeeds(engine)
  await agrees(upstream, engine, rows.keys())
}

async function tablesHostile(make: MakeUpstream): Promise<void> {
  const { upstream, engine } = await withTables(make, 3)
  const told = upstream.hostile()
  await succeeds(engine)
  const rows = await engine.rows()
  for (const { key, text, cleaned } of told)
    expect(rows.get(key)).toMatchObject({ text, sanitized: cleaned === null ? [] : [cleaned] })
}
