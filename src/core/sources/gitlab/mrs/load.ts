import { largerThan, PER_PAGE } from '../shifting.ts'

/**
 * Characters of answers that may come at the same time; a usual one has 50,000. One that is not Latin makes all of a
 * text take two bytes each.
 */
const ROOM = 1024 * 1024

/** How heavy the answers of one reading are: six of 8 MB side by side, parsed, would be 300 MB. */
export interface Load {
  /** Rows per page to begin with. */
  readonly size: number
  /**
   * Fulfilled with the first answer: until then nobody knows. Six that learn it each by themselves leave 26 MB of refused
   * pages behind, which the process keeps.
   */
  readonly known: Promise<void>
  /** How many may be read side by side. */
  readonly width: number
  asks(size: number): void
  came(chars: number): void
}

export function makeLoad(most: number): Load {
  let size = PER_PAGE
  let largest = 0
  let tell = (): void => {}
  const known = new Promise<void>((resolve) => {
    tell = resolve
  })
  return {
    known,
    get size() {
      return size
    },
    get width() {
      return largest === 0 ? most : Math.max(1, Math.min(most, Math.floor(ROOM / largest)))
    },
    asks: (wanted) => {
      if (wanted >= size) return
      size = wanted
      largest = ROOM
    },
    came: (chars) => {
      largest = Math.max(chars, largest / 2)
      const larger = largerThan(size)
      if ((largest / size) * larger < ROOM) size = larger
      tell()
    },
  }
}
