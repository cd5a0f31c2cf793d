import { defineConfig } from 'vitest/config'

/** The long form of test/chaos: ten thousand crash points, thousands of zombies and polls, hundreds of kills. */
export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: ['test/chaos/**/*.test.ts'],
    globalSetup: ['test/helpers/servers.ts'],
    env: { CHAOS: 'long' },
    testTimeout: 3_600_000,
    hookTimeout: 900_000, // thousands of repositories are deleted at the end
    maxWorkers: 2,
  },
})
