import { redactedView } from '../contracts/config.ts'
import type { ConfigCheckReport, ConfigReport } from '../contracts/config-report.ts'
import type { LoadedConfig } from './config.ts'
import type { Problem } from './config-problem.ts'

/** Every value in force and where it came from; a secret shows only that it is set. */
export function showConfig(loaded: LoadedConfig): ConfigReport {
  const values = leavesOf(redactedView(loaded.config)).map(([key, value]) => ({
    key,
    value,
    ...(loaded.origins[key] ?? { source: 'default' as const, where: '' }),
  }))
  return { status: 'success', file: loaded.file, values, warnings: loaded.warnings, exit_code: 0 }
}

export function checkedConfig(found: {
  loaded: LoadedConfig | null
  problems: Problem[]
}): ConfigCheckReport {
  const good = found.problems.length === 0
  return {
    status: good ? 'success' : 'failed',
    file: found.loaded?.file ?? null,
    problems: found.problems.map((p) => ({ message: p.text, hint: p.hint ?? null })),
    warnings: found.loaded?.warnings ?? [],
    exit_code: good ? 0 : 2,
  }
}

function leavesOf(tree: object, path: string[] = []): [key: string, value: unknown][] {
  return Object.entries(tree).flatMap(([name, value]) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? leavesOf(value, [...path, name])
      : [[[...path, name].join('.'), value] as [string, unknown]],
  )
}
