/** The exit code of what was really done; undefined for help and version, which are 0. */
export const outcome: { code: 0 | 1 | 2 | undefined } = { code: undefined }
