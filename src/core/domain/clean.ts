import { isUtf8 } from 'node:buffer'
import { TextDecoder } from 'node:util'

/**
 * The one sanitiser. PostgreSQL's text refuses NUL, its jsonb also refuses lone surrogates, and neither takes
 * invalid UTF-8. Each of these becomes U+FFFD here, at the boundary, so that one bad record can never stop a cursor;
 * the caller names the field in the record's `sanitized`. Nothing else is changed: control and bidi characters are
 * data, and making them harmless is the affair of whoever shows them.
 */
const REPLACEMENT = '\uFFFD'

/** The same string when PostgreSQL can hold it, else a copy it can hold. `cleanText(s) === s` says which. */
export function cleanText(text: string): string {
  const withoutNul = text.includes('\0') ? text.replaceAll('\0', REPLACEMENT) : text
  return LONE_SURROGATE.test(withoutNul) ? withoutNul.replace(EVERY_LONE_SURROGATE, REPLACEMENT) : withoutNul
}

// With the u flag a proper pair is one code point, so only a lone half has this category.
const LONE_SURROGATE = /\p{Surrogate}/u
const EVERY_LONE_SURROGATE = /\p{Surrogate}/gu

export interface Decoded {
  text: string
  /** False when something had to be replaced. */
  intact: boolean
}

/** Bytes as text: in the named encoding where there is such a one, else as UTF-8. Never throws. */
export function decodeText(bytes: Uint8Array, encoding: string | null = null): Decoded {
  const decoder = encoding === null ? UTF8 : (decoderFor(encoding) ?? UTF8)
  const raw = decoder.decode(bytes)
  const text = cleanText(raw)
  // A U+FFFD that upstream wrote itself, in valid UTF-8, is no damage.
  const intact = text === raw && (!raw.includes(REPLACEMENT) || (decoder === UTF8 && isUtf8(bytes)))
  return { text, intact }
}

// ignoreBOM keeps a leading U+FEFF, which is part of what upstream has.
const UTF8 = new TextDecoder('utf-8', { ignoreBOM: true })

const decoders = new Map<string, TextDecoder | null>()
const MAX_KNOWN_LABELS = 64 // an upstream may invent a label per record; the real ones are about 40

function decoderFor(label: string): TextDecoder | null {
  const known = decoders.get(label)
  if (known !== undefined) return known

  let made: TextDecoder | null = null
  try {
    made = label.length > 40 ? null : new TextDecoder(label.trim(), { ignoreBOM: true })
    if (made?.encoding === 'utf-8') made = UTF8
  } catch {
    made = null // no such encoding, or one this Node was built without
  }
  if (decoders.size < MAX_KNOWN_LABELS) decoders.set(label, made)
  return made
}

/** Seconds since 1970 that both PostgreSQL's timestamptz and a JavaScript Date can be; else null. */
export function cleanEpoch(seconds: number): number | null {
  return Number.isSafeInteger(seconds) && seconds >= MIN_EPOCH && seconds <= MAX_EPOCH ? seconds : null
}

const MIN_EPOCH = -210_866_803_200 // 4714-11-24 BC, timestamptz's first day
const MAX_EPOCH = 8_640_000_000_000 // 275760-09-13, Date's last second; timestamptz goes on to 294276
