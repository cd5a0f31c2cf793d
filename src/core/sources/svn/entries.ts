import { createHash } from 'node:crypto'
import { SyncError } from '../../domain/errors.ts'
import type { RevisionPath } from '../../domain/facts.ts'
import { MAX_PATH_BYTES, MAX_PATHS, MAX_PATHS_BYTES, pathOf } from '../path.ts'
import { textOf, type XmlReader, xmlReader } from './xml.ts'

/** One entry of a log. What is absent upstream is null. */
export interface Entry {
  rev: number
  author: string | null
  date: string | null
  message: string | null
  paths: RevisionPath[]
  pathCount: number
  /** Whether it changed something at or below the path asked for, or made, replaced or removed a folder above it. */
  touches: boolean
  /** Whether the path asked for began anew with it. */
  bears: boolean
  sanitized: string[]
  degraded: string[]
  /** What it takes in memory, for the page's limit. */
  bytes: number
}

/** Svn writes a byte XML cannot hold as `?\` and three digits; whoever typed just that is taken for it too. */
const ESCAPED_BYTE = /\?\\\d{3}/

/** Reads `svn log --xml` for what concerns `path` ('' = everything); `found` gets each entry once it is whole. */
export function entriesReader(doing: string, path: string, found: (entry: Entry) => void): XmlReader {
  const at = Buffer.from(path).toString('latin1')
  let entry: Entry | null = null
  let attributes: Record<string, string> = {}
  let pathBytes = 0
  let keptBytes = 0
  let full = false

  const told = (field: string, raw: string): string => {
    const { text, intact } = textOf(raw)
    if (!intact || ESCAPED_BYTE.test(text)) blemish(field)
    if (entry !== null) entry.bytes += text.length
    return text
  }
  const blemish = (field: string): void => {
    if (entry !== null && !entry.sanitized.includes(field)) entry.sanitized.push(field)
  }

  const addPath = (into: Entry, raw: string): void => {
    const { action = '', kind, 'copyfrom-path': from, 'copyfrom-rev': rev } = attributes
    const isAbove = raw === '/' ? at !== '' : at.startsWith(`${raw}/`)
    const begins = action === 'A' || action === 'R'
    // What a new folder holds is told path by path, but for a copy.
    const isMoved = isAbove && (action === 'D' || action === 'R' || (action === 'A' && from !== undefined))
    if (at === '' || raw === at || raw.startsWith(`${at}/`) || isMoved) into.touches = true
    if (begins && at !== '' && (raw === at || isMoved)) into.bears = true

    pathBytes += raw.length + (from?.length ?? 0)
    if (into.pathCount++ >= MAX_PATHS || full) return
    const kept = shortened(raw)
    const source = from === undefined ? null : shortened(from)
    full = keptBytes + kept.size + (source?.size ?? 0) > MAX_PATHS_BYTES
    if (full) return
    keptBytes += kept.size + (source?.size ?? 0)
    into.bytes += kept.size + (source?.size ?? 0) + 128
    if (!kept.intact || source?.intact === false) blemish('paths')
    into.paths.push({
      path: kept.path,
      action,
      kind: kind === 'file' || kind === 'dir' ? kind : null,
      copyFrom: source === null ? null : { path: source.path, rev: numberOf(doing, rev ?? '') },
      textChanged: flag(attributes['text-mods']),
      propsChanged: flag(attributes['prop-mods']),
    })
  }

  return xmlReader(doing, {
    open: (name, given, parent) => {
      attributes = given
      if (parent === '' && name !== 'log') throw new SyncError('upstream', `${doing}: svn answered no log`)
      if (name !== 'logentry') return
      if (parent !== 'log') throw new SyncError('upstream', `${doing}: a log entry within another`)
      entry = emptyEntry(numberOf(doing, given.revision ?? ''))
      pathBytes = 0
      keptBytes = 0
      full = false
    },
    close: (name, raw, cutFrom) => {
      if (entry === null) return
      switch (name) {
        case 'author':
        case 'date':
          entry[name] = told(name, raw)
          break
        case 'msg':
          entry.message = told('message', raw)
          break
        case 'path':
          addPath(entry, raw)
          break
        case 'logentry':
          if (entry.pathCount > MAX_PATHS) entry.degraded.push(`paths_count:${entry.pathCount}`)
          if (full) entry.degraded.push(`paths_size:${pathBytes}`)
          found(entry)
          entry = null
          return
      }
      if (cutFrom === null || name === 'path') return
      const field = name === 'msg' ? 'message' : name
      entry.degraded.push(`${field}_size:${cutFrom}`)
      blemish(field)
    },
  })
}

function emptyEntry(rev: number): Entry {
  return {
    rev,
    author: null,
    date: null,
    message: null,
    paths: [],
    pathCount: 0,
    touches: false,
    bears: false,
    sanitized: [],
    degraded: [],
    bytes: 256,
  }
}

function shortened(raw: string): { path: string; size: number; intact: boolean } {
  if (raw.length <= MAX_PATH_BYTES / 2) {
    const { text, intact } = textOf(raw)
    return { path: text, size: raw.length, intact: intact && !ESCAPED_BYTE.test(text) }
  }
  const bytes = Buffer.from(raw, 'latin1')
  const isLong = bytes.length > MAX_PATH_BYTES
  return pathOf({
    head: bytes.subarray(0, MAX_PATH_BYTES),
    size: bytes.length,
    sha256: isLong ? createHash('sha256').update(bytes).digest('hex') : null,
  })
}

/** Absent before Subversion 1.7. */
function flag(text: string | undefined): boolean | null {
  return text === undefined ? null : text === 'true'
}

export function numberOf(doing: string, text: string): number {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : -1
  if (number < 0) throw new SyncError('upstream', `${doing}: svn answered a revision that is no number`)
  return number
}
