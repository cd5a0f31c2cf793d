import { seeded } from '../helpers/git-repo.ts'

/** How much of it: CHAOS_<name>, or the figure of the short or the long form. */
export function size(name: string, short: number, long: number): number {
  const given = process.env[`CHAOS_${name}`]
  return given ? Number(given) : process.env.CHAOS === 'long' ? long : short
}

/** SEED brings a run back. */
export function chance(what: string): { seed: number; random: () => number } {
  const seed = process.env.SEED ? Number(process.env.SEED) : Math.floor(Math.random() * 2 ** 32)
  say(`${what}: SEED=${seed}`)
  return { seed, random: seeded(seed) }
}

export function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** `count` of them, spread over all, a different choice for every seed; all when there are not so many. */
export function sample<T>(all: readonly T[], count: number, random: () => number): T[] {
  if (count >= all.length) return [...all]
  const step = all.length / count
  return Array.from({ length: count }, (_, i) => all[Math.floor((i + random()) * step)] as T)
}

/** Runs `work` over `items`, `width` at once. */
export async function over<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = [...items]
  const lane = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: width }, lane))
}
