const MAX_MESSAGE = 300

/** One printable line of at most 300 characters: control, bidi and line-separator characters are shown escaped. */
export function oneLine(text: string): string {
  const shown = text.replace(UNPRINTABLE, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
  })
  return shown.length > MAX_MESSAGE ? `${shown.slice(0, MAX_MESSAGE - 1)}…` : shown
}

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Surrogate}]/gu
