import { seeded } from '../git-repo.ts'
import type { Project } from './project.ts'
import { type GitLab, startGitLab } from './server.ts'

/** One project that people work on, by a clock of its own: a month ago, and on with every request. */
export class Life {
  readonly gitlab: GitLab
  readonly project: Project
  readonly random: () => number
  /** How much happens before each request; 0 = all is quiet. */
  rate = 0
  readonly #clock: { now: number }
  readonly #isCoarse: boolean

  private constructor(gitlab: GitLab, random: () => number, clock: { now: number }, isCoarse: boolean) {
    this.gitlab = gitlab
    this.random = random
    this.#clock = clock
    this.#isCoarse = isCoarse
    this.project = gitlab.project({ unknownRef: this.pick([404, 404, 'empty', 500] as const) })
  }

  static async begin(seed: number, o: { commits?: number; mrs?: number } = {}): Promise<Life> {
    const random = seeded(seed)
    const clock = { now: Date.now() - 30 * 86_400_000 }
    const resolution = (['second', 'ms', 'us'] as const)[Math.floor(random() * 3)]!
    const gitlab = await startGitLab({
      token: 'glpat-life', // notes are for nobody without one
      seed,
      resolution,
      now: () => clock.now,
    })
    const life = new Life(gitlab, random, clock, resolution === 'second')
    const { project } = life
    project.hideEvery = random() < 0.3 ? 3 : 0
    project.commit()
    for (let i = 0; i < (o.commits ?? 10); i++) life.code()
    for (let i = 0; i < (o.mrs ?? 10); i++) project.mr(random() < 0.5 ? {} : { at: clock.now - 60_000 })
    for (let i = 0; i < (o.mrs ?? 10); i++) life.talk()
    life.pass(3_600_000)
    gitlab.beforeEach(() => {
      life.pass(1 + life.upTo(random() < 0.5 ? 5 : 1500))
      while (random() < life.rate) {
        life.happen()
        life.pass(1)
      }
    })
    return life
  }

  pass(ms: number): void {
    this.#clock.now += ms
  }

  upTo(n: number): number {
    return Math.floor(this.random() * n)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.upTo(list.length)] as T
  }

  happen(): void {
    if (this.random() < 0.5) this.code()
    else this.talk()
  }

  /** Something in the repository, clocks wrong by months now and then. */
  code(): void {
    const { project } = this
    this.pass(1000)
    const at = this.#clock.now - (this.random() < 0.15 ? this.upTo(1e10) : 0)
    const any = (): string => this.pick([...project.history.commits.keys()])
    const branch = this.pick([...project.branches.keys()])
    const others = [...project.branches.keys()].filter((name) => name !== project.defaultBranch)
    const dice = this.random()
    if (dice < 0.4) project.commit({ branch, at })
    else if (dice < 0.55) project.merge(this.pick([...project.branches.keys()]), branch, { at })
    else if (dice < 0.65) project.branch(`b${this.upTo(1e6)}`, any())
    else if (dice < 0.73) project.forcePush(branch, project.commit({ branch: null, parents: [any()], at }))
    else if (dice < 0.77) project.forcePush(branch, any())
    else if (dice < 0.85 && others.length > 0) project.deleteBranch(this.pick(others))
    else if (dice < 0.89) project.tag(`v${this.upTo(30)}`, any(), { annotated: this.random() < 0.5 })
    else if (dice < 0.92 && project.tags.size > 0) project.deleteTag(this.pick([...project.tags.keys()]))
    else if (dice < 0.94)
      project.branch(`o${this.upTo(1e6)}`, project.commit({ branch: null, parents: [], at }))
    else if (dice < 0.95) project.gc()
    else if (dice < 0.96 && others.length > 0) project.defaultBranch = this.pick(others)
    else project.commit({ branch: project.defaultBranch, at })
  }

  /** Something at any of the merge requests. */
  talk(): void {
    const { project } = this
    const mr = this.pick([...project.mrs.values()])
    if (mr === undefined || this.random() < 0.1) return void project.mr()
    // A transaction that began earlier may be seen only now.
    const late = this.#clock.now - this.upTo(50_000)
    const stamp = this.#isCoarse ? late - (late % 1000) : late
    const when = this.random() < 0.5 && stamp > mr.updatedAt ? { at: stamp } : {}
    const note = mr.notes[this.upTo(mr.notes.length)]
    const act = this.upTo(13)
    const word = `${this.#clock.now} ${this.upTo(1e6)}`
    if (act < 3 || note === undefined)
      project.note(mr.iid, { ...when, ...(note && this.random() < 0.5 && { replyTo: note.id }) })
    else if (act < 5) project.editNote(note.id, { body: `edited ${word}` })
    else if (act < 7) project.deleteNote(note.id, { bump: true })
    else if (act < 8) project.edit(mr.iid, { title: `Title ${word}` })
    else if (act < 9) project.touch(mr.iid, when)
    else if (act < 10) project.approve(mr.iid, { by: `user-${this.upTo(3)}` })
    else if (act < 11) project.unapprove(mr.iid, { by: `user-${this.upTo(3)}` })
    else if (mr.state === 'closed') project.reopen(mr.iid, when)
    else if (mr.state === 'opened' && act < 12) project.close(mr.iid, when)
    else if (mr.state === 'opened') project.mergeMr(mr.iid, when)
    else if (this.random() < 0.2) project.deleteMr(mr.iid)
  }

  /** What GitLab does not tell of in its list: only an audit can see it. */
  silently(): void {
    const mr = this.pick([...this.project.mrs.values()])
    const note = mr?.notes.find(({ system, hidden }) => !system && !hidden)
    if (note !== undefined && this.random() < 0.7) this.project.deleteNote(note.id)
    else if (mr !== undefined) this.project.deleteMr(mr.iid)
  }
}
