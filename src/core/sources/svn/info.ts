import { SyncError } from '../../domain/errors.ts'
import { type Svn, startSvn } from './client.ts'
import { numberOf } from './entries.ts'
import { says } from './failure.ts'
import { foldersAbove, locator, schemeOf } from './locate.ts'
import { textOf, xmlReader } from './xml.ts'

/** What a repository says of itself now. */
export interface Info {
  /** Of its root folder, canonical. */
  root: string
  uuid: string
  youngest: number
}

const MAX_BYTES = 1024 * 1024

/** A date that is none: svn tells nothing of a folder that was last changed on it. */
const BOGUS_DATE = '125003'
const OLDER_TRIES = 20

/** Asks for the newest revision of `url`. Throws `not_found` when there is no such path in it. */
export async function readInfo(svn: Svn, url: string): Promise<Info> {
  const told = await infoAt(svn, url, 'HEAD')
  if (told !== null) return { ...told, youngest: told.at }

  // One revision with a garbage date must not stop what comes after it: what lies above was mostly changed by another.
  const youngest = await youngestOf(svn, url)
  const above = foldersAbove(url)
  for (const folder of above) {
    const told = await infoAt(svn, folder, 'HEAD').catch(unlessUnseen)
    if (told !== null) return { ...told, youngest }
  }
  for (let rev = youngest - 1; rev >= Math.max(0, youngest - OLDER_TRIES); rev--)
    for (const folder of [url, ...above]) {
      const told = await infoAt(svn, folder, rev).catch(unlessUnseen)
      if (told !== null) return { ...told, youngest }
    }
  throw new SyncError('upstream', `asking ${url}: its last ${OLDER_TRIES} revisions have no usable date`, {
    hint: 'repair svn:date: svnadmin setrevprop',
  })
}

/**
 * Throws where http leads elsewhere. Of all commands `proplist --revprop` is one that does not go there: `info` and `log`
 * do, and what keeps these from other hosts (`startSvn`) does not keep them from another port of the same one.
 */
export async function refuseRedirect(svn: Svn): Promise<void> {
  if (schemeOf(svn.url).startsWith('http')) await youngestOf(svn, svn.url)
}

/** Null where the date of the folder is none. */
async function infoAt(svn: Svn, url: string, peg: 'HEAD' | number) {
  const doing = `asking ${url}`
  const told = await ask(svn, doing, 'info', ['--xml'], `${url}@${peg}`)
  if (told === null) return null
  const said = (name: string): string => canonical(doing, told.get(name) ?? '')
  const [root, here] = [said('root'), said('url')]
  // A server may tell of another address than it was asked for.
  if (here !== url || (url !== root && !url.startsWith(`${root}/`)))
    throw new SyncError('not_found', `${doing}: it is at another address by now`, {
      hint: `register ${here}`,
    })
  const uuid = told.get('uuid') ?? ''
  if (!/^[\x21-\x7e]{1,128}$/.test(uuid)) throw new SyncError('upstream', `${doing}: it has no usable UUID`)
  return { root, uuid, at: numberOf(doing, told.get('revision') ?? '') }
}

/** The number of the newest revision, which only who is let in may ask for. */
export async function youngestOf(svn: Svn, url: string): Promise<number> {
  const doing = `asking ${url} for its newest revision`
  // With --revprop svn takes no peg: an @ is an @. But with one at its beginning it loses its slash.
  const target = url.replace(/\/@([^/]*)$/, '/%40$1')
  const told = await ask(svn, doing, 'proplist', ['--xml', '--revprop', '-r', 'HEAD'], target)
  return numberOf(doing, told?.get('rev') ?? '')
}

/** Texts by the name of their element, and what says a revision. Null where svn stumbled over a date. */
async function ask(
  svn: Svn,
  doing: string,
  command: 'info' | 'proplist',
  options: string[],
  target: string,
): Promise<Map<string, string> | null> {
  const told = new Map<string, string>()
  const reader = xmlReader(doing, {
    open: (name, attributes) => {
      if (name === 'entry') told.set('revision', attributes.revision ?? '')
      if (name === 'revprops') told.set('rev', attributes.rev ?? '')
    },
    close: (name, raw) => {
      if (!told.has(name)) told.set(name, textOf(raw).text)
    },
  })
  const child = startSvn(svn, doing, command, options, target)
  try {
    let bytes = 0
    for (let chunk = await child.chunk(); chunk !== null; chunk = await child.chunk()) {
      bytes += chunk.length
      if (bytes > MAX_BYTES) throw new SyncError('upstream', `${doing}: an answer of more than a mebibyte`)
      reader.write(chunk)
    }
    await child.finish()
  } catch (error) {
    if (says(child.stderr(), BOGUS_DATE)) return null
    throw error
  } finally {
    await child.stop()
  }
  reader.end()
  return told
}

/** A folder may be missing, or not ours to read. */
export function unlessUnseen(error: unknown): null {
  if (error instanceof SyncError && ['not_found', 'auth', 'permission'].includes(error.kind)) return null
  throw error
}

function canonical(doing: string, url: string): string {
  try {
    return locator(url, ['svn+ssh', 'file'])
  } catch (cause) {
    throw new SyncError('upstream', `${doing}: svn answered an address that is none`, { cause })
  }
}
