/** Shorter values would blank out half of every line; a secret of three characters protects nothing anyway. */
const SHORTEST = 4

/** Removes every form in which a secret could be printed: as it is, URL-encoded, base64, inside a JSON string. */
export function redactor(secrets: string[]): (text: string) => string {
  const forms = new Set<string>()
  for (const secret of secrets) {
    if (secret.length < SHORTEST) continue
    for (const form of [
      secret,
      encodeURIComponent(secret),
      base64(secret),
      JSON.stringify(secret).slice(1, -1),
    ]) {
      forms.add(form)
    }
  }
  // Longest first: a secret that contains another must not leave its tail behind.
  const needles = [...forms].sort((a, b) => b.length - a.length)
  return (text) => needles.reduce((t, needle) => t.split(needle).join('[redacted]'), text)
}

/** Padding depends on what follows, so the part before it is what can be found. */
function base64(secret: string): string {
  return Buffer.from(secret, 'utf8').toString('base64').replace(/=+$/, '')
}
