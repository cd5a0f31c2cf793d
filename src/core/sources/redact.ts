/** Secrets by value, and whatever stands where a URL keeps its user. */
export function redact(text: string, secrets: readonly string[]): string {
  let safe = text
  for (const secret of secrets) if (secret !== '') safe = safe.replaceAll(secret, '***')
  return hideUserinfo(safe)
}

/** `scheme://anything@` loses the anything. A plain `git@` of ssh goes too: it is no secret, but nobody misses it. */
function hideUserinfo(text: string): string {
  return text.replace(/:\/\/[^\s'"]*@/g, '://***@')
}
