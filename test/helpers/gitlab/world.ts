import { createHash } from 'node:crypto'

export interface User {
  id: number
  username: string
  name: string
}

/** The parts of an instance that its projects share: the clock, the numbers, the people. */
export class World {
  /** Where it listens, without a slash at the end. */
  url = ''
  readonly now: () => number
  readonly seed: number
  readonly resolution: 'second' | 'ms' | 'us'
  #ids = new Map<string, number>()
  #users = new Map<string, User>()

  constructor(now: () => number, seed: number, resolution: 'second' | 'ms' | 'us') {
    this.now = now
    this.seed = seed
    this.resolution = resolution
  }

  /** Now, as a row gets it. */
  stamp(): number {
    const now = Math.floor(this.now())
    return this.resolution === 'second' ? now - (now % 1000) : now
  }

  nextId(kind: string): number {
    const id = (this.#ids.get(kind) ?? 1000) + 1
    this.#ids.set(kind, id)
    return id
  }

  user(username: string): User {
    let user = this.#users.get(username)
    if (user === undefined) {
      user = { id: this.#users.size + 1, username, name: username.replace(/^./, (c) => c.toUpperCase()) }
      this.#users.set(username, user)
    }
    return user
  }

  /** 40 hex digits that follow from the seed. */
  hash(text: string): string {
    return createHash('sha1').update(`${this.seed} ${text}`).digest('hex')
  }
}
