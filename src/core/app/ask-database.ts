import { databaseNow } from '../db/connect.ts'
import type { Context } from './context.ts'

/** Whether the database answers at this moment. */
export async function databaseAnswers({ db }: Pick<Context, 'db'>): Promise<boolean> {
  try {
    await databaseNow(db)
    return true
  } catch {
    return false
  }
}
