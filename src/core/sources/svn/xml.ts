import { SaxesParser } from 'saxes'
import { cleanText, type Decoded, decodeText } from '../../domain/clean.ts'
import { SyncError } from '../../domain/errors.ts'

/** Of one text, as svn sends it. */
export const MAX_TEXT_BYTES = 8 * 1024 * 1024
const MAX_DEPTH = 8

/** What is called for every element. Text and attributes are bytes, one a character: `textOf` makes them text. */
export interface Elements {
  open(name: string, attributes: Record<string, string>, parent: string): void
  /** `text` stood directly before the end; `cutFrom` is its size when not all of it was kept. */
  close(name: string, text: string, cutFrom: number | null): void
}

export interface XmlReader {
  write(bytes: Buffer): void
  /** Throws when the document is not complete. */
  end(): void
}

/**
 * Reads what `svn --xml` writes, strictly but for what svn itself gets wrong: it lets invalid UTF-8 through, and one
 * such byte would spoil a chunk of thousands of revisions. So the parser sees one character per byte, which XML allows
 * all of but the control characters; those become 0xFF, a byte no UTF-8 holds, and so are known as damage afterwards.
 *
 * Svn writes no `<!`: a DOCTYPE, and with it every entity, is refused at its second character. A text beyond
 * MAX_TEXT_BYTES is dropped as it goes by, before the parser would gather it.
 */
export function xmlReader(doing: string, elements: Elements): XmlReader {
  const parser = new SaxesParser({ defaultXMLVersion: '1.0', forceXMLVersion: true, position: false })
  const broken = (why: string): SyncError =>
    new SyncError('upstream', `${doing}: svn's answer ${why}`, {
      hint: 'see whether svn log --xml ends well',
    })

  const open: string[] = []
  let text = ''
  let cutFrom: number | null = null
  parser.on('error', () => {
    throw broken('is not well-formed, or was cut short')
  })
  parser.on('text', (more) => {
    text += more
  })
  parser.on('opentag', ({ name, attributes }) => {
    elements.open(name, attributes as Record<string, string>, open.at(-1) ?? '')
    if (open.push(name) > MAX_DEPTH) throw broken('is nested too deep')
    text = ''
    cutFrom = null
  })
  parser.on('closetag', ({ name }) => {
    open.pop()
    elements.close(name, text, cutFrom)
    text = ''
    cutFrom = null
  })

  let run = 0 // bytes since the last <
  let tail = '' // the last of what the parser was given
  let dropping = false
  const feed = (piece: string): void => {
    if (piece === '') return
    parser.write(piece)
    tail =
      piece.length >= LONGEST_REFERENCE
        ? piece.slice(-LONGEST_REFERENCE)
        : (tail + piece).slice(-LONGEST_REFERENCE)
  }

  /** Text without a `<`: what of it still fits. A reference is never cut in two: half of one is an error. */
  const feedText = (piece: string): void => {
    const room = Math.max(0, MAX_TEXT_BYTES - run)
    run += piece.length
    if (dropping) return
    if (piece.length <= room) {
      feed(piece)
      return
    }
    const opened = /&[^;]*$/.exec((tail + piece.slice(0, room)).slice(-LONGEST_REFERENCE)) !== null
    const rest = piece.slice(room, room + LONGEST_REFERENCE)
    const end = opened ? rest.indexOf(';') + 1 : 0
    const goesOn = opened && end === 0 && rest.length < LONGEST_REFERENCE
    feed(goesOn ? piece : piece.slice(0, room + end))
    dropping = !goesOn
  }

  return {
    write: (bytes) => {
      let piece = bytes.toString('latin1')
      if (CONTROL.test(piece)) piece = piece.replace(EVERY_CONTROL, '\xff')
      if (piece.includes('<!') || (piece.startsWith('!') && tail.endsWith('<')))
        throw broken('has a declaration, which svn never writes')

      if (run + piece.length <= MAX_TEXT_BYTES) {
        const last = piece.lastIndexOf('<')
        run = last < 0 ? run + piece.length : piece.length - last
        feed(piece)
        return
      }
      for (let at = 0; at < piece.length; ) {
        const next = piece.indexOf('<', at + (run === 0 ? 1 : 0))
        const to = next < 0 ? piece.length : next
        feedText(piece.slice(at, to))
        at = to
        if (next < 0) break
        if (dropping) cutFrom = run
        dropping = false
        run = 0
      }
    },
    end: () => {
      parser.close()
    },
  }
}

const LONGEST_REFERENCE = 12 // &#1114111; and some
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\0-\x08\x0b\x0c\x0e-\x1f]/
// biome-ignore lint/suspicious/noControlCharactersInRegex: the same, all of them
const EVERY_CONTROL = /[\0-\x08\x0b\x0c\x0e-\x1f]/g

/** Bytes, one a character, as text; not intact when they were no UTF-8 or XML could not hold them. */
export function textOf(bytes: string): Decoded {
  if (ASCII.test(bytes)) return { text: bytes, intact: true }
  // A reference to a character beyond 0xFF is not svn's way of writing one.
  if (BEYOND_BYTES.test(bytes)) return { text: cleanText(bytes), intact: false }
  return decodeText(Buffer.from(bytes, 'latin1'))
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII
const ASCII = /^[\x01-\x7f]*$/
const BEYOND_BYTES = /[^\0-\xff]/
