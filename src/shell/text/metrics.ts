import type { Metric } from '../../core/contracts/metrics.ts'
import { sayable } from '../output.ts'

export const EXPOSITION = 'text/plain; version=0.0.4; charset=utf-8'

/**
 * Prometheus' text format. By its rules a gauge is not called `_total` or `_count`; the runbook's names are, so those
 * are declared untyped, which `promtool check metrics` accepts and the server treats the same.
 *
 * Our own 30 lines instead of prom-client: its registries are for figures a process counts itself, and here every
 * figure is read from the database at the moment of asking. It would add 22 ms to each `status --prometheus`.
 */
export function exposition(metrics: Metric[]): string {
  return metrics.map(family).join('\n')
}

function family({ name, help, samples }: Metric): string {
  const type = /_(total|count)$/.test(name) ? 'untyped' : 'gauge'
  const lines = samples.map(({ labels, value }) => `${name}${labelled(labels)} ${value}`)
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n')
}

function labelled(labels: Metric['samples'][number]['labels']): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${escaped(String(value))}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

/** Only these three have escapes; what else could harm a terminal is spelled out first, line by line. */
function escaped(value: string): string {
  return value
    .split('\n')
    .map((line) => sayable(line).replaceAll('\\', '\\\\').replaceAll('"', '\\"'))
    .join('\\n')
}
