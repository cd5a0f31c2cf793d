import { gitSource } from '../../src/core/sources/git/git.ts'
import type { Page, Source } from '../../src/core/sources/source.ts'
import type { Scene } from './scene.ts'

/** Does something once `pages` pages of a run are stored, before the next one is handed over. */
export function afterPages(scene: Scene, pages: number, act: () => unknown): { git: Source } {
  return watched(async (_, n) => {
    if (n !== pages) return
    await scene.stored(pages)
    await act()
  })
}

/** The real git source, with a look at every page before it is handed over: the look may throw, wait or change it. */
export function watched(look: Look): { git: Source } {
  return { git: watchedSource(gitSource({ path: process.env.PATH ?? '', home: null }), look) }
}

type Look = (page: Page, n: number) => unknown

/** The same of any source. */
export function watchedSource(real: Source, look: Look): Source {
  return {
    ...real,
    open: async (access) => {
      const reading = await real.open(access)
      return {
        ...reading,
        pages: async function* (ask, resume) {
          let n = 0
          for await (const page of reading.pages(ask, resume)) {
            await look(page, n++)
            yield page
          }
        },
      }
    },
  }
}
