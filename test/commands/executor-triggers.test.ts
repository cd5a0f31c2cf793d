import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, describe, expect, test } from 'vitest'
import { redactor } from '../../src/core/domain/redact.ts'
import { type Admins, makeAdmins } from '../../src/shell/executor/admins.ts'
import { Callbacks } from '../../src/shell/executor/callbacks.ts'
import { openJournal } from '../../src/shell/executor/journal.ts'
import { TriggerLogs } from '../../src/shell/executor/trigger-logs.ts'
import { type Result, Triggers } from '../../src/shell/executor/triggers.ts'
import { type Answer, type TriggerBody, triggerIn } from '../../src/shell/executor/wire.ts'
import { redactWith } from '../../src/shell/output.ts'
import { tempFolder } from '../helpers/git-repo.ts'
import { openAdmin, until, type XxlAdmin } from '../helpers/xxl-admin.ts'

const ends: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const end of ends) await end()
})

type Gate = (result: Result) => void

/** One process after the other over one folder; work is what the test says it comes to. */
class Life {
  readonly triggers: Triggers
  readonly callbacks: Callbacks
  readonly logs: TriggerLogs
  readonly lost: number
  readonly running = new Map<number, Gate>()
  most = 0
  private dead = false

  constructor(folder: string, admin: XxlAdmin, begun: Map<number, number>) {
    this.begun = begun
    const journal = openJournal(join(folder, 'owed'))
    const real = makeAdmins({
      addresses: ['http://127.0.0.1:1/nobody', admin.url],
      token: null,
      appName: 'engram-scm',
    })
    const admins: Admins = { tell: (what, body, end) => this.alive(() => real.tell(what, body, end)) }
    const shared = { journal, log: pino({ level: 'silent' }), now: () => new Date() }
    this.logs = new TriggerLogs(join(folder, 'log'))
    this.callbacks = new Callbacks({ ...shared, admins, keptDays: 30, firstPauseMs: 5, lastTryMs: 200 })
    this.triggers = new Triggers({ ...shared, parallelism: 2, callbacks: this.callbacks, logs: this.logs })
    this.lost = this.callbacks.inherit(journal.left)
  }

  private readonly begun: Map<number, number>

  accept(body: TriggerBody, onStop: Result = { exitCode: 2, text: 'stopped' }): Answer {
    return this.triggers.accept(body, '3.4', (signal) => {
      this.begun.set(body.logId, (this.begun.get(body.logId) ?? 0) + 1)
      return new Promise((resolve) => {
        const gate = (result: Result) => {
          this.running.delete(body.logId)
          resolve(result)
        }
        this.running.set(body.logId, gate)
        this.most = Math.max(this.most, this.running.size)
        signal.addEventListener('abort', () => setImmediate(() => !this.dead && gate(onStop)))
      })
    })
  }

  finish(logId: number, exitCode: 0 | 1 | 2 = 0): void {
    this.running.get(logId)?.({ exitCode, text: `came to ${exitCode}` })
  }

  /** As kill -9 does it: nothing more is written, and nothing more is heard. */
  die(): void {
    this.dead = true
  }

  private async alive<T>(ask: () => Promise<T>): Promise<T> {
    if (this.dead) return new Promise(() => {})
    const said = await ask()
    return this.dead ? new Promise(() => {}) : said
  }
}

async function scene() {
  const admin = await openAdmin()
  ends.push(admin.close)
  const folder = tempFolder()
  const begun = new Map<number, number>()
  return { admin, folder, begun, life: () => new Life(folder, admin, begun) }
}

const body = (logId: number, more: Record<string, unknown> = {}): TriggerBody =>
  triggerIn({
    jobId: 1,
    logId,
    logDateTime: 1_700_000_000_000,
    executorHandler: 'incremental',
    glueType: 'BEAN',
    ...more,
  })

describe('block strategies', () => {
  test('SERIAL_EXECUTION: one after the other, of one job', async () => {
    const { admin, life } = await scene()
    const l = life()
    for (const logId of [1, 2, 3]) expect(l.accept(body(logId)).code).toBe(200)
    expect([...l.running.keys()]).toEqual([1])
    l.finish(1)
    await admin.end(1)
    expect([...l.running.keys()]).toEqual([2])
    expect(l.triggers.kill(1).code).toBe(200)
    expect(await admin.end(3)).toMatchObject({ code: 500, msg: expect.stringMatching(/had not begun/) })
    expect(await admin.end(2)).toMatchObject({ code: 500, msg: expect.stringMatching(/^killed/) })
  })

  test('DISCARD_LATER: refused while one runs or waits, and only then', async () => {
    const { admin, life } = await scene()
    const l = life()
    const discard = { executorBlockStrategy: 'DISCARD_LATER' }
    expect(l.accept(body(1, discard)).code).toBe(200)
    expect(l.accept(body(2, discard))).toMatchObject({
      code: 500,
      msg: expect.stringMatching(/Discard Later/),
    })
    expect(l.accept(body(3, { ...discard, jobId: 2 })).code).toBe(200)
    l.finish(1)
    await admin.end(1)
    expect(l.accept(body(4, discard)).code).toBe(200)
    expect(admin.ends.has(2)).toBe(false)
  })

  test('COVER_EARLY: what waits is told, what runs ends first, then the later one begins', async () => {
    const { admin, life } = await scene()
    const l = life()
    l.accept(body(1))
    l.accept(body(2))
    expect(l.accept(body(3, { executorBlockStrategy: 'COVER_EARLY' })).code).toBe(200)
    expect([...l.running.keys()]).toEqual([1]) // not both
    expect(await admin.end(2)).toMatchObject({
      code: 500,
      msg: expect.stringMatching(/Cover Early; it had not begun/),
    })
    expect(await admin.end(1)).toMatchObject({ code: 500, msg: expect.stringMatching(/Cover Early/) })
    expect([...l.running.keys()]).toEqual([3])
    expect(l.most).toBe(1)
  })

  test('work that was done before it heard of its end has succeeded', async () => {
    const { admin, life } = await scene()
    const l = life()
    l.accept(body(1), { exitCode: 0, text: 'all stored' })
    l.triggers.kill(1)
    expect(await admin.end(1)).toMatchObject({ code: 200, msg: 'all stored' })
  })

  test('a third job waits for one of two places, and is no place for another', async () => {
    const { admin, life } = await scene()
    const l = life()
    for (const n of [1, 2, 3]) l.accept(body(n, { jobId: n }))
    expect([...l.running.keys()]).toEqual([1, 2])
    expect(l.triggers.isBusy(9)).toBe(true)
    l.finish(2, 1)
    expect(await admin.end(2)).toMatchObject({ code: 500, msg: 'partial: came to 1' })
    expect([...l.running.keys()]).toEqual([1, 3])
  })
})

describe('callbacks', () => {
  test('wait for an admin that is away, and go together when it is back', async () => {
    const { admin, life } = await scene()
    const l = life()
    admin.mood = 'deaf'
    for (const n of [1, 2, 3, 4]) l.accept(body(n))
    for (const n of [1, 2, 3, 4]) {
      await until(`${n}`, () => l.running.has(n))
      l.finish(n)
    }
    await until('all over', () => l.callbacks.undelivered === 4)
    admin.mood = 'well'
    await until('told', () => l.callbacks.undelivered === 0)
    expect([...admin.ends.values()].map(({ code, repeats }) => [code, repeats])).toEqual(
      Array(4).fill([200, 0]),
    )
  })

  test('an answer that is lost: told again, and the first counts', async () => {
    const { admin, folder, life } = await scene()
    const l = life()
    admin.mood = 'forgets-to-answer'
    l.accept(body(1))
    l.finish(1)
    await until('told again', () => (admin.ends.get(1)?.repeats ?? 0) > 1)
    admin.mood = 'well'
    await until('taken', () => readdirSync(join(folder, 'owed')).length === 0)
    expect(admin.ends.get(1)?.code).toBe(200)
  })

  test('an admin that scolds for a repeat knows the end; what stands beside it in the batch is told too', async () => {
    const { admin, folder, life } = await scene()
    const l = life()
    admin.mood = 'forgets-to-answer'
    l.accept(body(1))
    l.finish(1)
    await until('told', () => admin.ends.has(1))
    admin.mood = 'deaf'
    l.accept(body(2, { jobId: 2 }))
    l.finish(2)
    await until('both owed', () => l.callbacks.undelivered === 2)
    admin.mood = 'scolds-repeats'
    await until('taken', () => readdirSync(join(folder, 'owed')).length === 0)
    expect([...admin.ends].map(([logId, { code }]) => [logId, code])).toEqual([
      [1, 200],
      [2, 200],
    ])
  })

  test('an end of 50,000 characters with tags in it arrives short and harmless', async () => {
    const { admin, life } = await scene()
    const l = life()
    l.accept(body(1))
    l.running.get(1)?.({ exitCode: 2, text: `<script>alert(1)</script>${'x'.repeat(50_000)}` })
    const { msg } = await admin.end(1)
    expect(msg.length).toBeLessThan(2_100)
    expect(msg).not.toMatch(/[<>]/)
  })

  test('a secret in an end is told to nobody', async () => {
    const { admin, life, folder } = await scene()
    redactWith(redactor(['glpat-sesame']))
    const l = life()
    l.accept(body(1))
    l.running.get(1)?.({ exitCode: 2, text: 'refused\n  glpat-sesame was sent \x1b[2J' })
    expect((await admin.end(1)).msg).toBe('refused\n  [redacted] was sent \\u001b[2J')
    const { logContent } = l.logs.read({ logId: 1, logDateTime: 1_700_000_000_000, fromLine: 1 })
    expect(logContent + readdirSync(join(folder, 'owed'))).not.toContain('sesame')
    redactWith((text) => text)
  })

  test('an end that no admin took for a month is given up', async () => {
    const { admin, folder, life } = await scene()
    admin.mood = 'refuses'
    const day = 86_400_000
    for (const [logId, days] of [
      [1, 29],
      [2, 31],
    ] as const)
      openJournal(join(folder, 'owed')).keep({
        jobId: 1,
        logId,
        logDateTime: 1_700_000_000_000,
        dialect: '3.4',
        acceptedAt: Date.now() - days * day,
        end: { code: 200, msg: '' },
      })
    const l = life()
    await until('one given up', () => l.callbacks.undelivered === 1)
    admin.mood = 'well'
    await admin.end(1)
    expect(admin.ends.has(2)).toBe(false)
  })

  test('a process that was stopped leaves what no admin took to the next', async () => {
    const { admin, life } = await scene()
    const l = life()
    l.accept(body(1))
    l.accept(body(2))
    admin.mood = 'refuses'
    await l.triggers.stop()
    await l.callbacks.close()
    expect(l.accept(body(3))).toMatchObject({ code: 500, msg: expect.stringMatching(/stopping/) })
    admin.mood = 'well'
    const next = life()
    expect(next.lost).toBe(0)
    expect(await admin.end(1)).toMatchObject({ code: 500, msg: expect.stringMatching(/was stopped/) })
    expect(await admin.end(2)).toMatchObject({ code: 500, msg: expect.stringMatching(/had not begun/) })
    expect(next.accept(body(2))).toMatchObject({ code: 200, msg: expect.stringMatching(/before/) })
  })

  test('a stop asks an admin that never answers once more at most, however many ends are owed', async () => {
    const { admin, folder, life } = await scene()
    const l = life()
    admin.mood = 'refuses'
    for (let n = 1; n <= 12; n++) l.accept(body(n, { jobId: n }))
    await l.triggers.stop()
    await until('one by one', () => admin.calls.some(({ body }) => (body as unknown[]).length === 1))
    admin.mood = 'silent'
    const before = admin.calls.length
    await until('an admin that is silent', () => admin.calls.length > before)
    await l.callbacks.close()
    expect(admin.calls.length - before).toBeLessThanOrEqual(2)
    expect(l.callbacks.undelivered).toBe(12)
    expect(readdirSync(join(folder, 'owed'))).toHaveLength(12)
  })

  test('a file that cannot be removed keeps no other end from being told', async () => {
    const { admin, folder, life } = await scene()
    const l = life()
    admin.mood = 'refuses'
    l.accept(body(1))
    l.finish(1)
    await until('refused', () => admin.refused.length > 0)
    const path = join(folder, 'owed', '1700000000000-1.json')
    rmSync(path)
    mkdirSync(path)
    admin.mood = 'well'
    await admin.end(1)
    l.accept(body(2))
    l.finish(2)
    await admin.end(2)
    await until('nothing owed', () => l.callbacks.undelivered === 0)
    expect(readdirSync(join(folder, 'owed'))).toEqual(['1700000000000-1.json'])
  })
})

test.each<[what: string, change: Record<string, unknown>, name?: string]>([
  ['no form of a callback', { dialect: undefined }],
  ['a form nobody speaks', { dialect: '9.9' }],
  ['no end and not none', { end: undefined }],
  ['an end in words', { end: 'success' }],
  ['an end without a code', { end: { msg: '' } }],
  ['an end without a message', { end: { code: 200 } }],
  ['a log in words', { logId: '7' }],
  ['the name of another', {}, '1-8.json'],
])('a file with %s is not owed, and stays', (_what, change, name = '1-7.json') => {
  const folder = tempFolder()
  const whole = { jobId: 1, logId: 7, logDateTime: 1, dialect: '3.4', acceptedAt: 1, end: null }
  writeFileSync(join(folder, name), JSON.stringify({ ...whole, ...change }))
  writeFileSync(join(folder, '1-9.json'), JSON.stringify({ ...whole, logId: 9 }))
  const { left, strange } = openJournal(folder)
  expect(left).toEqual([{ ...whole, logId: 9 }])
  expect(strange).toEqual([name])
  expect(readdirSync(folder)).toContain(name)
})

test('a trigger whose log cannot begin is refused, and no later start tells of it', async () => {
  const { folder, life } = await scene()
  const l = life()
  mkdirSync(join(folder, 'log'))
  writeFileSync(join(folder, 'log', '2023-11-14'), 'no folder')
  expect(() => l.accept(body(1))).toThrow(/EEXIST|ENOTDIR/)
  expect(readdirSync(join(folder, 'owed'))).toEqual([])
  expect(l.triggers.isBusy(1)).toBe(false)
  rmSync(join(folder, 'log', '2023-11-14'))
  expect(l.accept(body(1)).code).toBe(200)
  expect(l.running.has(1)).toBe(true)
})

test('the log: from a line on, a thousand at a time, without a tag, with an end', async () => {
  const logs = new TriggerLogs(join(tempFolder(), 'log'))
  const id = { logId: 5, logDateTime: 1_700_000_000_000 }
  const now = new Date(id.logDateTime)
  logs.begin(id)
  expect(logs.read({ ...id, fromLine: 1 })).toMatchObject({ toLineNum: 0, logContent: '', isEnd: false })
  for (let n = 1; n <= 1_500; n++) logs.say(id, now, n === 1 ? '<b>1</b>\x1b[31m\u202e' : `line ${n}`)
  const first = logs.read({ ...id, fromLine: 1 })
  expect(first).toMatchObject({ fromLineNum: 1, toLineNum: 1_000, isEnd: false })
  expect(first.logContent.split('\n')[0]).toBe('2023-11-14T22:13:20.000Z ‹b›1‹/b›\\u001b[31m\\u202e')
  logs.end(id)
  expect(logs.read({ ...id, fromLine: 1_001 })).toMatchObject({ toLineNum: 1_500, isEnd: true })
  expect(logs.read({ ...id, fromLine: 1_501 })).toMatchObject({
    toLineNum: 1_500,
    logContent: '',
    isEnd: true,
  })

  logs.begin({ ...id, logId: 6 })
  for (let n = 0; n < 2_000; n++) logs.say({ ...id, logId: 6 }, now, 'x'.repeat(1_900))
  const { toLineNum } = logs.read({ ...id, logId: 6, fromLine: 900 })
  expect(toLineNum).toBeLessThan(600)

  logs.prune(new Date(id.logDateTime + 30 * 86_400_000), 30)
  expect(logs.knows(id)).toBe(true)
  logs.prune(new Date(id.logDateTime + 31 * 86_400_000), 30)
  expect(logs.knows(id)).toBe(false)
})

describe('at random: every trigger that is accepted comes to exactly one end, that of its work', () => {
  const seeds = process.env.SEED
    ? [Number(process.env.SEED)]
    : Array.from({ length: 3 }, () => (Math.random() * 2 ** 31) | 0)

  test.each(seeds)('SEED=%i', async (seed) => {
    const random = mulberry(seed)
    const below = (n: number) => Math.floor(random() * n)
    const pick = <T>(from: readonly T[]) => from[below(from.length)] as T
    const { admin, folder, begun, life } = await scene()
    let l = life()
    const sent: TriggerBody[] = []
    const accepted = new Map<number, { code: number }>()
    /** The work's own end; whoever dies without one is failed. */
    const come = (logId: number, exitCode: 0 | 1 | 2) => {
      l.finish(logId, exitCode)
      accepted.set(logId, { code: exitCode === 0 ? 200 : 500 })
    }

    for (let step = 0; step < 150; step++) {
      const what = random()
      if (what < 0.4) {
        const strategy = pick(['SERIAL_EXECUTION', 'DISCARD_LATER', 'COVER_EARLY', ''])
        const one = body(sent.length + 1, { jobId: 1 + below(4), executorBlockStrategy: strategy })
        sent.push(one)
        if (l.accept(one).code === 200) accepted.set(one.logId, { code: 500 })
      } else if (what < 0.5 && sent.length > 0) {
        const again = pick(sent)
        const { code } = l.accept(again)
        if (accepted.has(again.logId)) expect(code, `${again.logId} again`).toBe(200)
        else if (code === 200) accepted.set(again.logId, { code: 500 })
      } else if (what < 0.8 && l.running.size > 0) come(pick([...l.running.keys()]), pick([0, 0, 1, 2]))
      else if (what < 0.86) l.triggers.kill(1 + below(4))
      else if (what < 0.93) admin.mood = pick(['well', 'deaf', 'forgets-to-answer', 'refuses'])
      else if (what < 0.95) {
        await pause(0) // what was resolved has been written: a promise is no process, and does not die halfway
        l.die()
        l = life()
      }
      expect(l.running.size).toBeLessThanOrEqual(2)
      if (random() < 0.5) await pause(below(4))
    }

    admin.mood = 'well'
    await until('all told', async () => {
      for (const logId of [...l.running.keys()]) come(logId, 0)
      return readdirSync(join(folder, 'owed')).length === 0
    })
    const told = Object.fromEntries([...admin.ends].map(([logId, { code }]) => [logId, code]))
    expect(told).toEqual(Object.fromEntries([...accepted].map(([logId, { code }]) => [logId, code])))
    expect([...begun].filter(([, times]) => times > 1)).toEqual([])
  })
})

function mulberry(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
