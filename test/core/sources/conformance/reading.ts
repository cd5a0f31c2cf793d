import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Access, Ask, Page, Reading, Resume } from '../../../../src/core/sources/source.ts'
import type { Memory } from './memory.ts'
import { recordsIn, rowsOf } from './rows.ts'
import type { Upstream } from './upstream.ts'

export interface How {
  ask?: Ask
  resume?: Resume | null
  pageSize?: number
  /** Leaves after so many pages, as a process that dies. */
  pages?: number
  access?: Partial<Access>
  /** Called when a page has come, before the next is asked for. */
  between?: (page: Page, n: number) => unknown
}

/** One read, stored in memory page by page; every page is held against what each source promises. */
export async function readInto(memory: Memory, how: How = {}): Promise<Page[]> {
  const { upstream } = memory
  const { resume = memory.checkpoint, pageSize = 7, pages: most = Number.POSITIVE_INFINITY } = how
  const ask = how.ask ?? memory.ask()
  const access = upstream.access({
    pageSize,
    cacheDir: memory.cacheDir,
    settings: memory.settings,
    learn: (learnt) => Object.assign(memory.settings, learnt),
    ...how.access,
  })
  const reading = await upstream.source.open(access)
  const pages: Page[] = []
  for await (const page of reading.pages(ask, resume)) {
    pages.push(page)
    memory.take(structuredClone(page))
    await how.between?.(page, pages.length)
    if (pages.length >= most) break
  }
  hasShape(pages, upstream, ask, pageSize, most !== Number.POSITIVE_INFINITY)
  return pages
}

/** What holds of the pages of every read there is. */
function hasShape(pages: Page[], { job }: Upstream, ask: Ask, pageSize: number, isCut: boolean): void {
  expect(pages.length, 'pages').toBeGreaterThan(0)
  const tokens = pages.map(({ token }) => token)
  expect(new Set(tokens).size, `tokens are unique: ${tokens.join(' ')}`).toBe(tokens.length)
  for (const [i, page] of pages.entries()) {
    const before = pages[i - 1]
    const isLast = i === pages.length - 1
    expect(recordsIn(page.facts, job), 'records of a page').toBeLessThanOrEqual(pageSize)
    expect(page.pinned, 'what is pinned').toEqual(pages[0]?.pinned)
    expect(page.done, 'done').toBeGreaterThanOrEqual(before?.done ?? 0)
    if (page.total !== null) expect(page.done, 'done').toBeLessThanOrEqual(page.total)
    if (i > 0) expect(page.restarted, 'restarted after the first page').toBeUndefined()
    if (!isLast) expect(page.landing, 'a landing before the last page').toBeUndefined()
    if (!isLast || isCut) continue
    expect(page.landing, 'the landing of the last page').toBeDefined()
    if (ask.window === 'time' || ask.window === 'range')
      expect(page.landing, 'the landing of a window').toBeNull()
    else expect(page.landing, 'the landing').not.toBeNull()
  }
}

/** Keys as they came, also twice. */
export function keysOf(pages: Page[], { job }: Upstream): string[] {
  return pages.flatMap(({ facts }) => [...rowsOf(facts, job).keys()])
}

export function sorted(keys: Iterable<string>): string[] {
  return [...keys].sort()
}

/** Every page of a reading that is no longer wanted, or what it threw. */
export async function endOf(
  reading: Promise<Reading> | Reading,
  ask: Ask,
  resume: Resume | null = null,
): Promise<unknown> {
  try {
    for await (const _ of (await reading).pages(ask, resume));
    return null
  } catch (error) {
    return error
  }
}

/** Children of this process, and whatever has the upstream's address in its command line. */
function processes(marker: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) return false
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
      return parent === process.pid || readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(marker)
    } catch {
      return false
    }
  })
}

/** Fails unless all processes and requests that `act` started are gone soon after it. */
export async function leavesNothing(upstream: Upstream, act: () => Promise<unknown>): Promise<void> {
  const before = processes(upstream.marker)
  await act()
  for (let tries = 0; ; tries++) {
    const left = processes(upstream.marker).filter((pid) => !before.includes(pid))
    if (left.length === 0 && upstream.busy() === 0) return
    if (tries > 200)
      expect({ left: left.map(commandOf), busy: upstream.busy() }).toEqual({ left: [], busy: 0 })
    await pause(10)
  }
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')
  } catch {
    return pid
  }
}
