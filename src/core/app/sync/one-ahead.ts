/**
 * Prepares the next item while the consumer is busy with this one: the database stores a page while the next is read,
 * parsed and written as JSON. Never more than one ahead, so memory stays bounded.
 */
export async function* oneAhead<T, U>(source: AsyncGenerator<T>, prepare: (item: T) => U): AsyncGenerator<U> {
  const pull = async (): Promise<{ item: U } | null> => {
    const { value, done } = await source.next()
    return done ? null : { item: prepare(value) }
  }
  let next = pull()
  try {
    for (;;) {
      const got = await next
      if (got === null) return
      next = pull()
      next.catch(() => {}) // thrown when its turn comes, or not at all when the consumer has left
      yield got.item
    }
  } finally {
    await next.catch(() => {})
    await source.return(undefined)
  }
}
