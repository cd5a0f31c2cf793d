import { Reviews } from './reviews.ts'
import type { World } from './world.ts'

export interface ProjectOptions {
  id?: number
  path?: string
  /** A private project is 404 to who has no token. Default private where the instance has a token. */
  visibility?: 'public' | 'private'
  /** What a commit list of a ref or range that is not there answers: 404, or an empty list as servers did until about 2021, or 500. */
  unknownRef?: 404 | 'empty' | 500
  /** Lists longer than this have no x-total. */
  maxTotal?: number
  /** Rows after which `page` is refused with 405. GitLab does not do it for these lists today; null. */
  offsetCap?: number | null
}

/** One project: its settings, its repository, its merge requests. */
export class Project extends Reviews {
  readonly id: number
  readonly visibility: 'public' | 'private'
  readonly unknownRef: 404 | 'empty' | 500
  readonly maxTotal: number
  readonly offsetCap: number | null
  path: string
  /** Former paths, which redirect. */
  readonly formerPaths = new Set<string>()
  archived = false
  deleted = false
  markedForDeletionOn: string | null = null
  repositoryAccess: 'enabled' | 'private' | 'disabled' = 'enabled'
  mergeRequestsAccess: 'enabled' | 'private' | 'disabled' = 'enabled'
  /** What a switched-off repository answers. */
  repositoryOffStatus: 403 | 404 = 403
  /** Ready JSON by sha. */
  readonly commitJson = new Map<string, string>()

  constructor(world: World, options: ProjectOptions, visibility: 'public' | 'private') {
    super(world)
    this.id = options.id ?? world.nextId('project')
    this.path = options.path ?? `group/project-${this.id}`
    this.visibility = options.visibility ?? visibility
    this.unknownRef = options.unknownRef ?? 404
    this.maxTotal = options.maxTotal ?? 10_000
    this.offsetCap = options.offsetCap ?? null
  }

  /** Its old path answers 301 from then on. */
  rename(path: string): void {
    this.formerPaths.add(this.path)
    this.formerPaths.delete(path)
    this.path = path
    this.commitJson.clear()
    for (const mr of this.mrs.values()) mr.json = null
  }

  archive(archived = true): void {
    this.archived = archived
  }

  /** 404 everywhere. */
  delete(): void {
    this.deleted = true
  }

  /** It can still be read until then: `YYYY-MM-DD`. */
  markForDeletion(on: string): void {
    this.markedForDeletionOn = on
  }

  /** 403 in older versions, 404 "Repository Not Found" in newer ones. */
  repositoryOff(status: 403 | 404 = 403): void {
    this.repositoryAccess = 'disabled'
    this.repositoryOffStatus = status
  }

  repositoryOn(): void {
    this.repositoryAccess = 'enabled'
  }

  mergeRequestsOff(): void {
    this.mergeRequestsAccess = 'disabled'
  }

  mergeRequestsOn(): void {
    this.mergeRequestsAccess = 'enabled'
  }

  get webUrl(): string {
    return `${this.world.url}/${this.path}`
  }
}
