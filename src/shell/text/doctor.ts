import type { DoctorCheck, DoctorReport } from '../../core/contracts/doctor.ts'
import { visible } from '../output.ts'

export function doctorText(r: DoctorReport): string {
  const lines = r.checks.map(line)
  const counts = [
    `${r.ok} ok`,
    `${r.warnings} ${r.warnings === 1 ? 'warning' : 'warnings'}`,
    `${r.failed} failed`,
  ].join(', ')
  const left = r.not_examined.length > 0 ? [`not examined: ${r.not_examined.join(', ')}`] : []
  return [...lines, ...left, counts].join('\n')
}

function line({ status, check, found, remedy }: DoctorCheck): string {
  const head = `${status.padEnd(8)} ${check.padEnd(16)} ${visible(found)}`
  return remedy === null ? head : `${head}\n${' '.repeat(26)}→ ${visible(remedy)}`
}
