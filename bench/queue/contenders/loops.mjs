/** `count` loops at once, each until `turn` finds nothing; then `close`. The function it returns waits for that. */
export function loops(count, close, turn) {
  const ended = Promise.all(
    Array.from({ length: count }, async () => {
      while (await turn());
    }),
  )
  return async () => {
    await ended
    await close()
  }
}
