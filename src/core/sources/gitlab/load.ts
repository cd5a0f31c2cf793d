import { largerThan, PER_PAGE } from './shifting.ts'

/** Characters of answers that may come at the same time; a usual one has 50,000. */
const ROOM = 2 * 1024 * 1024

/** How heavy the answers of one reading are: six of 8 MB side by side, parsed, would be 300 MB. */
export interface Load {
  /** Rows per page to begin with. */
  readonly size: number
  /** How many may be read side by side. */
  readonly width: number
  asks(size: number): void
  came(chars: number): void
}

export function makeLoad(most: number): Load {
  let size = PER_PAGE
  let largest = 0
  return {
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
      if (largest < ROOM / 4) size = largerThan(size)
    },
  }
}
