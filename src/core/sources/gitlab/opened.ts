import type { Access } from '../source.ts'
import type { Client } from './http/client.ts'
import type { Place } from './locate.ts'
import type { Project } from './records/project.ts'

/** One project, opened: what every reading of it needs. */
export interface Opened {
  access: Access
  place: Place
  project: Project
  client: Client
}
