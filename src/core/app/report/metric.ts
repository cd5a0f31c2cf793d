import type { Metric } from '../../contracts/metrics.ts'

export type Samples = Metric['samples']

export const metric = (name: string, help: string, samples: Samples): Metric => ({ name, help, samples })
export const one = (value: number): Samples => [{ labels: {}, value }]

export function by(label: string, counts: Record<string, number>): Samples {
  return Object.entries(counts).map(([key, value]) => ({ labels: { [label]: key }, value }))
}

/** A series may be there once: of samples with the same labels the greatest. */
export function atMost(samples: Samples): Samples {
  const kept = new Map<string, Samples[number]>()
  for (const sample of samples) {
    const key = JSON.stringify(sample.labels)
    const known = kept.get(key)
    if (!known || known.value < sample.value) kept.set(key, sample)
  }
  return [...kept.values()]
}
