/** UTF-8 cut to at most `max` bytes, before the character that would be cut in two. */
export function charsWithin(bytes: Buffer, max: number): Buffer {
  if (bytes.length <= max) return bytes
  let end = max
  while (end > max - 3 && ((bytes[end] as number) & 0xc0) === 0x80) end--
  return bytes.subarray(0, end)
}
