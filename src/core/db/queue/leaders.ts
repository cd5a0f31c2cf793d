import { type Db, row, rows } from '../connect.ts'

/**
 * Leads the duty, or goes on leading it, for so many seconds: free or lapsed → mine, with the next term. null:
 * somebody else leads, and then nothing is written and no lock waited for, however long that leader's scan takes.
 * The database issues the term, so no clock but its own is trusted.
 */
export async function lead(
  db: Db,
  ask: { duty: string; by: string; leaseSeconds: number },
): Promise<number | null> {
  const mine = await row<{ term: number }>(
    db,
    'leader_lead',
    `insert into scm.leaders (duty, term, held_by, elected_at, lease_until)
     select $1, 1, $2, now(), now() + make_interval(secs => $3)
      where not exists (select from scm.leaders where duty = $1 and held_by <> $2 and lease_until >= now())
     on conflict (duty) do update
        set term = leaders.term + case when leaders.held_by = excluded.held_by and leaders.lease_until >= now() then 0 else 1 end,
            elected_at = case when leaders.held_by = excluded.held_by and leaders.lease_until >= now()
                              then leaders.elected_at else now() end,
            held_by = excluded.held_by, lease_until = excluded.lease_until
      where leaders.held_by = excluded.held_by or leaders.lease_until < now()
     returning term`,
    [ask.duty, ask.by, ask.leaseSeconds],
  )
  return mine?.term ?? null
}

/** Still mine? Locks the row, so that nobody can take over before the caller's transaction ends. */
export async function leads(tx: Db, ask: { duty: string; term: number }): Promise<boolean> {
  const found = await rows(
    tx,
    'leader_leads',
    'select 1 from scm.leaders where duty = $1 and term = $2 and lease_until >= now() for share',
    [ask.duty, ask.term],
  )
  return found.length > 0
}

/** Mine → free at once, so that a successor need not wait. Names belong to one process each: only its own lease ends. */
export async function resign(db: Db, ask: { duty: string; by: string }): Promise<void> {
  await rows(
    db,
    'leader_resign',
    `update scm.leaders set lease_until = now() - interval '1 second' where duty = $1 and held_by = $2 and lease_until >= now()`,
    [ask.duty, ask.by],
  )
}
