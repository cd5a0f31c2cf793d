/** What `status --prometheus` and GET /metrics print, before it is text. */
export interface MetricsReport {
  metrics: Metric[]
  exit_code: 0
}

export interface Metric {
  name: string
  help: string
  samples: { labels: Record<string, string | number>; value: number }[]
}
