import { SyncError } from '../../domain/errors.ts'
import { type Svn, startSvn } from './client.ts'
import { type Entry, entriesReader } from './entries.ts'

/** What one `svn log` cost. */
export interface Cost {
  /** Milliseconds we waited for it; what its reader did meanwhile is not counted. */
  waited: number
  bytes: number
}

export interface LogAsk {
  url: string
  /** Revisions from..to, both included. */
  from: number
  to: number
  /** Where the path is looked up. */
  peg: number
  /** With changed paths. */
  verbose: boolean
  /** Only while it was this path: not what it was copied from. */
  strict: boolean
  /** The decoded path that entries are held against; '' = everything. */
  path: string
}

/**
 * The entries of one `svn log`, oldest first, while it runs. It throws unless svn ended well and its document is
 * complete; the entries until then are whole, and nothing before the last of them is missing.
 */
export async function* readLog(svn: Svn, ask: LogAsk, cost: Cost): AsyncGenerator<Entry> {
  const { url, from, to, peg, verbose, strict, path } = ask
  const doing = `reading the log of ${url} from r${from} to r${to}`
  let ready: Entry[] = []
  let last = from - 1
  const reader = entriesReader(doing, path, (entry) => {
    if (entry.rev <= last || entry.rev > to)
      throw new SyncError('upstream', `${doing}: r${entry.rev} came after r${last}`)
    last = entry.rev
    ready.push(entry)
  })

  const options = ['--xml', '-r', `${from}:${to}`]
  options.push(verbose ? '-v' : '-q')
  if (strict) options.push('--stop-on-copy')
  const child = startSvn(svn, doing, 'log', options, `${url}@${peg}`)
  try {
    for (;;) {
      const since = performance.now()
      const chunk = await child.chunk()
      cost.waited += performance.now() - since
      if (chunk === null) break
      cost.bytes += chunk.length
      reader.write(chunk)
      if (ready.length === 0) continue
      const batch = ready
      ready = []
      yield* batch
    }
    await child.finish()
    reader.end()
  } finally {
    await child.stop()
  }
}
