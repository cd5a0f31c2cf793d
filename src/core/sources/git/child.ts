import { type Child, type Program, runChild, startChild } from '../child.ts'
import { environmentOf, type Reach, type Surroundings } from './environment.ts'
import { failureOf } from './failure.ts'

/** Milliseconds. `ask` and `fetch` bound a whole call; `read` bounds one silence of a process that streams. */
export interface Deadlines {
  ask: number
  fetch: number
  read: number
}

/** A git to call: whose surroundings, in which repository, reaching what, for whom. */
export interface Git {
  surroundings: Surroundings
  deadlines: Deadlines
  gitDir: string | null
  /** The folder of its objects, when they are not those of `gitDir`. */
  objects?: string
  reach: Reach | null
  signal: AbortSignal
  secrets: readonly string[]
}

/** Starts a git that streams. */
export function startGit(git: Git, doing: string, args: readonly string[]): Child {
  return startChild(programOf(git), doing, args, { silence: git.deadlines.read })
}

/** One whole call of git: its output, at most `maxBytes` of it, within `ms` altogether. */
export function runGit(
  git: Git,
  doing: string,
  args: readonly string[],
  more: { input?: string; ms?: number; maxBytes?: number; codes?: readonly number[] } = {},
): Promise<{ out: Buffer; code: number; stderr: string }> {
  return runChild(programOf(git), doing, args, { ...more, ms: more.ms ?? git.deadlines.ask })
}

function programOf({ surroundings, gitDir, objects, reach, signal, secrets }: Git): Program {
  const env = environmentOf(surroundings, gitDir, reach)
  if (objects !== undefined) env.GIT_OBJECT_DIRECTORY = objects
  return {
    file: 'git',
    env,
    signal,
    failure: (doing, stderr) => failureOf(doing, stderr, secrets),
    remedy: 'install git >= 2.37 and have it in PATH',
  }
}
