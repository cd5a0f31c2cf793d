import type { TimeWindow } from './window.ts'

/**
 * Windows that hold all the instants (milliseconds since 1970), one for each group of them with no longer rest than
 * `restMs` inside; than twice, four times that, … where there would be more than `most` groups.
 */
export function clustersOf(instants: number[], restMs: number, most: number): TimeWindow[] {
  const clusters = groupsOf(instants, restMs)
  return clusters.length <= most ? clusters : clustersOf(instants, restMs * 2, most)
}

function groupsOf(instants: number[], restMs: number): TimeWindow[] {
  const clusters: { since: number; until: number }[] = []
  for (const at of [...instants].sort((a, b) => a - b)) {
    const last = clusters.at(-1)
    if (last && at - last.until < restMs) last.until = at + 1
    else clusters.push({ since: at, until: at + 1 })
  }
  return clusters.map(({ since, until }) => ({ since: new Date(since), until: new Date(until) }))
}
