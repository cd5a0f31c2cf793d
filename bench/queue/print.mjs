/** Everything the bench has to say goes through one of these: a line for people, or a value for --json. */
export function printer(json) {
  const results = []
  const targets = []
  const say = (line = '') => {
    if (!json) process.stdout.write(`${line}\n`)
  }
  return {
    say,
    /** Rows of cells under a head; numbers to the right, the first column to the left. */
    table(title, head, rows) {
      say(`\n${title}`)
      const cells = [head, ...rows].map((row) => row.map(show))
      const widths = head.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)))
      for (const row of cells) {
        const line = row.map((cell, n) => (n === 0 ? cell.padEnd(widths[n]) : cell.padStart(widths[n] + 2)))
        say(`  ${line.join('').trimEnd()}`)
      }
    },
    /** What was reached beside what is wanted. A miss is a figure like any other, unless BENCH_STRICT says it fails. */
    target(what, reached, relation, wanted) {
      const ok = relation === '>=' ? reached >= wanted : reached <= wanted
      targets.push({ what, reached, relation, wanted, ok })
      say(`  ${ok ? 'ok  ' : 'MISS'} ${what}: ${show(reached)}, wanted ${relation} ${show(wanted)}`)
    },
    record(section, figures) {
      results.push({ section, ...figures })
    },
    results,
    targets,
  }
}

/** Three significant digits are what such a measurement is worth. */
export function show(value) {
  if (value === null || value === undefined) return ''
  if (typeof value !== 'number') return String(value)
  if (Number.isNaN(value)) return 'failed'
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return String(Number(value.toPrecision(value < 1 ? 2 : 3)))
}

export function median(values) {
  return percentile(values, 50)
}

export function percentile(values, p) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))]
}
