import type { Config } from '../../core/contracts/config.ts'
import { SyncError } from '../../core/domain/errors.ts'
import type { Address } from '../http.ts'
import { addressIn } from '../listen.ts'

const THIS_MACHINE = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/
const EVERY_ADDRESS = /^(0\.0\.0\.0|::)$/
const ADMIN = /^https?:\/\/[^\s/?#@]+(\/[^\s?#@]*)?$/

/** Throws `config` when no admin could reach it, or anybody could. */
export function whereItListens(config: Config['scm']['executor']): Address {
  if (config.admin_addresses.length === 0)
    throw new SyncError('config', 'no XXL-Job admin is named', {
      hint: 'give --admin http://host:8080/xxl-job-admin, or set scm.executor.admin_addresses',
    })
  for (const address of config.admin_addresses)
    if (!ADMIN.test(address))
      throw new SyncError('config', `${JSON.stringify(address)} is not the address of an admin`, {
        hint: 'for example http://xxl-job.example.com:8080/xxl-job-admin, without a user name',
      })

  const at = addressIn(config.listen)
  // Whoever reaches the port may start syncs.
  if (config.access_token === null && !THIS_MACHINE.test(at.host))
    throw new SyncError('config', `to listen on ${at.host} the executor needs an access token`, {
      hint: 'set SCM_EXECUTOR_ACCESS_TOKEN or scm.executor.access_token_file to that of the admin',
    })
  if (config.address === null && EVERY_ADDRESS.test(at.host))
    throw new SyncError('config', `under what address is it registered, listening on ${at.host}?`, {
      hint: 'set scm.executor.address, or --address, to the URL by which an admin reaches it',
    })
  return at
}
