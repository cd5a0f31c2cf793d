/**
 * Reads up to `width` items at a time, and yields what they bring in the order of the items: what has come out is all
 * there is up to some item. Each is asked for its first part at once and for its others when its turn has come, so no
 * more than `width` parts are in memory. The first item is alone until the width is `known`, or its first part is there.
 * `read` is told by a signal when the consumer has left: what it still waits for is of no use then.
 */
export async function* sideBySide<T, U>(
  items: AsyncGenerator<T>,
  room: { readonly width: number; readonly known: Promise<void> },
  read: (item: T, left: AbortSignal) => AsyncGenerator<U>,
): AsyncGenerator<U> {
  const open: { parts: AsyncGenerator<U>; first: Promise<IteratorResult<U>> }[] = []
  const left = new AbortController()
  let more = true
  try {
    for (;;) {
      while (more && open.length < room.width) {
        const { value, done } = await items.next()
        if (done) more = false
        else {
          const parts = read(value, left.signal)
          const first = parts.next()
          first.catch(() => {}) // it is thrown when its turn comes, or not at all when the consumer left
          open.push({ parts, first })
          await Promise.race([room.known, first.catch(() => {})])
        }
      }
      const [head] = open
      if (head === undefined) return
      for (let part = await head.first; !part.done; part = await head.parts.next()) yield part.value
      open.shift()
    }
  } finally {
    left.abort()
    await Promise.allSettled(open.map(({ first }) => first))
    await Promise.allSettled(open.map(({ parts }) => parts.return(undefined)))
    await items.return(undefined)
  }
}
