import { stat } from 'node:fs/promises'
import type { Access, Heads, Reading } from '../source.ts'
import { type Git, runGit } from './child.ts'
import { discardMirror, isOfTheMirror, mirrorDir, upToDateMirror } from './mirror.ts'
import { readingOf, readingOfNothing } from './reading.ts'
import { parseRefLines, type Remote, readHeads } from './refs.ts'

/** Branches and tags upstream has now: one cheap question. Peeled ids of annotated tags come as `name^{}`. */
export async function listRemote(git: Git, locator: string): Promise<Remote> {
  const { out } = await runGit(
    git,
    `asking ${locator}`,
    ['ls-remote', '--', locator, 'refs/heads/*', 'refs/tags/*'],
    { maxBytes: 64 * 1024 * 1024 },
  )
  return { refs: parseRefLines(out, '\t') }
}

/** What the answer to `ls-remote` comes to as heads; a light tag of a tree cannot be told from one of a commit here. */
export function headsOfRemote(remote: Remote): Heads {
  const heads: Heads = {}
  for (const [name, id] of remote.refs) heads[name.replace(/\^\{\}$/, '')] = id
  return heads
}

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
