/** What a dump says of a revision: the truth to hold a log against. */
export interface Dumped {
  props: Map<string, Buffer>
  /** `A /path`, `M /path`, `D /path`, `R /path`; a copy with ` < /source@rev` behind it. */
  changes: string[]
}

/** Reads the answer of `svnadmin dump -q`. */
export function readDump(bytes: Buffer): Map<number, Dumped> {
  const revisions = new Map<number, Dumped>()
  let current: Dumped | null = null
  let at = 0
  for (;;) {
    while (bytes[at] === 10) at++
    if (at >= bytes.length) break
    const end = bytes.indexOf('\n\n', at)
    const headers = new Map(
      bytes
        .toString('utf8', at, end)
        .split('\n')
        .map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]),
    )
    at = end + 2
    const rev = headers.get('Revision-number')
    const path = headers.get('Node-path')
    if (rev !== undefined) {
      const length = Number(headers.get('Prop-content-length') ?? 0)
      current = { props: readProps(bytes.subarray(at, at + length)), changes: [] }
      revisions.set(Number(rev), current)
    } else if (path !== undefined && current !== null) {
      addChange(current.changes, `/${path}`, headers)
    }
    at += Number(headers.get('Content-length') ?? 0)
  }
  return revisions
}

const LETTERS: Record<string, string> = { add: 'A', change: 'M', delete: 'D', replace: 'R' }

function addChange(changes: string[], path: string, headers: Map<string, string>): void {
  const from = headers.get('Node-copyfrom-path')
  const copy = from === undefined ? '' : ` < /${from}@${headers.get('Node-copyfrom-rev')}`
  let letter = LETTERS[headers.get('Node-action') ?? '']
  // A replacement with history is told as a deletion and an addition.
  const gone = changes.indexOf(`D ${path}`)
  if (letter === 'A' && gone >= 0) {
    changes.splice(gone, 1)
    letter = 'R'
  }
  changes.push(`${letter} ${path}${copy}`)
}

function readProps(bytes: Buffer): Map<string, Buffer> {
  const props = new Map<string, Buffer>()
  let at = 0
  const counted = (): Buffer => {
    const end = bytes.indexOf(10, at)
    const size = Number(bytes.toString('latin1', at + 2, end))
    at = end + 1 + size + 1
    return bytes.subarray(end + 1, end + 1 + size)
  }
  while (at < bytes.length && bytes[at] === 75) {
    const name = counted().toString()
    props.set(name, counted())
  }
  return props
}
