import type { Ask, Survey } from '../source.ts'
import { rangesOf, readDates, revisionAsk } from './ranges.ts'
import { type Opened, refuseRewound } from './repository.ts'

/** What reads would bring: revisions counted by their numbers, or by their dates, which are read for it. */
export async function surveyOf(repo: Opened, asks: Ask[]): Promise<Survey[]> {
  const head = repo.youngest
  let whole: Promise<Float64Array> | null = null
  const dates = (): Promise<Float64Array> => {
    whole ??= readDates(repo, head)
    return whole
  }

  const surveys: Survey[] = []
  for (const ask of asks.map(revisionAsk)) {
    refuseRewound(repo, ask, null)
    if (ask.window === 'time') {
      const [since, until] = [ask.since.getTime(), ask.until.getTime()]
      const items = (await dates()).filter((at) => at >= since && at < until).length
      surveys.push({ items, refs: null, note: null })
      continue
    }
    const ranges = await rangesOf(ask, head, dates)
    const count = ranges.reduce((sum, { from, to }) => sum + to - from + 1, 0)
    const isWhole = repo.path === '' || count === 0
    const note = `${count} revisions to look at; how many of them concern ${repo.path} only reading tells`
    surveys.push({ items: isWhole ? count : null, refs: null, note: isWhole ? null : note })
  }
  return surveys
}
