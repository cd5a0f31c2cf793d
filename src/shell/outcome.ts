/** What was really done. `code` is undefined for help and version, which are 0. */
export const outcome: {
  code: 0 | 1 | 2 | undefined
  /** stdout has its one report: what breaks afterwards is for stderr. */
  told: boolean
} = { code: undefined, told: false }
