import type pg from 'pg'

/** The same pool, where something happens once that statement has been answered for the first time. */
export function afterStatement(pool: pg.Pool, name: string, act: () => Promise<void>): pg.Pool {
  let isDone = false
  const watching = <T extends object>(on: T): T =>
    new Proxy(on, {
      get: (target, key) => {
        const found = Reflect.get(target, key)
        if (typeof found !== 'function') return found
        if (key === 'connect') return async () => watching(await found.call(target))
        if (key !== 'query') return found.bind(target)
        return async (asked: { name?: string }, ...more: unknown[]) => {
          const answer = await found.call(target, asked, ...more)
          if (!isDone && asked.name === name) {
            isDone = true
            await act()
          }
          return answer
        }
      },
    })
  return watching(pool)
}
