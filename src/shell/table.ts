import Table from 'cli-table3'
import { visible } from './output.ts'

type Cell = string | number | null | undefined

/** For people: aligned, without borders, so that it can be piped too. Upstream text in it is made harmless. */
export function table(head: string[], rows: Cell[][]): string {
  const none = {
    top: '',
    'top-mid': '',
    'top-left': '',
    'top-right': '',
    bottom: '',
    'bottom-mid': '',
    'bottom-left': '',
    'bottom-right': '',
    left: '',
    'left-mid': '',
    mid: '',
    'mid-mid': '',
    right: '',
    'right-mid': '',
    middle: '  ',
  }
  const t = new Table({
    head,
    chars: none,
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  })
  for (const row of rows) t.push(row.map((cell) => (cell == null ? '-' : visible(String(cell)))))
  return t
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}
