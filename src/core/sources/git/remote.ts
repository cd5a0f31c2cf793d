import { stat } from 'node:fs/promises'
import type { Access, Reading } from '../source.ts'
import type { Git } from './child.ts'
import { listRemote } from './list-remote.ts'
import { discardMirror, isOfTheMirror, mirrorDir, upToDateMirror } from './mirror.ts'
import { readingOf, readingOfNothing } from './reading.ts'
import { readHeads } from './refs.ts'

/**
 * Reads through the mirror, and when it turns out broken on the way (a cut pack, a lost object) makes it again, once, and
 * goes on behind the last page.
 */
export async function openRemote(git: Git, access: Access): Promise<Reading> {
  const dir = mirrorDir(access)
  let made: number | null = null
  const open = async (): Promise<Reading> => {
    access.say(`asking ${access.locator}`)
    const remote = await listRemote(git, access.locator)
    if (remote.refs.length === 0) return readingOfNothing(access)
    const mirror = await upToDateMirror(git, access, remote)
    made = await inodeOf(dir)
    return readingOf(mirror, await readHeads(mirror), access)
  }

  let reading = await open()
  let healed = false
  return {
    pages: async function* (ask, resume) {
      let at = resume
      try {
        for await (const page of reading.pages(ask, resume)) {
          at = { pinned: page.pinned, token: page.token }
          yield page
        }
        return
      } catch (error) {
        if (healed || !isOfTheMirror(error)) throw error
      }
      healed = true
      access.say('the mirror is broken: making it again')
      // Another worker may have put a new one there meanwhile, which is no fault of its.
      if ((await inodeOf(dir)) === made) await discardMirror(dir)
      reading = await open()
      yield* reading.pages(ask, at)
    },
  }
}

async function inodeOf(dir: string): Promise<number | null> {
  return (await stat(dir).catch(() => null))?.ino ?? null
}
