import type pg from 'pg'
import { expect, test } from 'vitest'
import { makePaces } from '../../../src/core/app/paces.ts'
import { unhurried } from '../../../src/core/app/sync/unhurried.ts'
import { SyncError } from '../../../src/core/domain/errors.ts'
import type { Usage } from '../../../src/core/domain/tally.ts'
import type { Page } from '../../../src/core/sources/source.ts'
import { contextOn } from '../../helpers/context.ts'

const page = (n: number) => ({ token: String(n), facts: {} }) as Page
const used = (limited: number) => ({ limited, unannounced: limited, timeouts: 0 }) as Usage
const settings = {
  'scm.degradation.base_sleep_seconds': 3600,
  'scm.degradation.max_sleep_seconds': 3600,
}
const paces = () => makePaces(contextOn({} as pg.Pool, { settings }).config)
const HOST = { kind: 'gitlab', instanceKey: 'one.example.com' } as const

test('a stop ends the rest after a 429 at once, and the reading is closed', async () => {
  const pace = paces()(HOST)
  const stop = new AbortController()
  let isClosed = false
  async function* pages() {
    try {
      for (let n = 0; ; n++) yield page(n)
    } finally {
      isClosed = true
    }
  }
  const reading = unhurried(pages(), { pace, usage: () => used(1), signal: stop.signal })
  expect((await reading.next()).value?.token).toBe('0')
  expect(pace.restSeconds).toBe(3600)
  const next = reading.next()
  stop.abort(new SyncError('cancelled', 'stopped'))
  await expect(next).rejects.toThrow(/abort/)
  expect(isClosed).toBe(true)
})

test('one host slows no other down', () => {
  const of = paces()
  const other = of({ ...HOST, instanceKey: 'two.example.com' })
  const before = other.batchSize
  const limited = { limited: 9, unannounced: 1, timeouts: 0, tooLarge: 0, broken: 0, came: true }
  of(HOST).met(limited)
  expect(of(HOST)).toMatchObject({ details: false, restSeconds: 3600 })
  expect(other).toMatchObject({ details: true, restSeconds: 0, batchSize: before })
})
