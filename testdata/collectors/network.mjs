// The network's own libraries, set up as the real collector sets them up.
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
export const crypto = require('@shardeum-foundation/lib-crypto-utils')
export const { Utils } = require('@shardeum-foundation/lib-types')

// The replaced service's sample hash key and public key; both are public.
const HASH_KEY = '69fa4195670576c0160d660c3be36556ff8d504725be8a59b5a96509e0c994bc'
export const PUBLIC_KEY = '758b1c119412298802cd28dbfa394cdfeecc4074492d60844cc192d632d84de3'
crypto.init(HASH_KEY)
crypto.setCustomStringifier(Utils.safeStringify, 'shardus_safeStringify')

/** signed is the object with the signature of those keys. */
export function signed(object, keys) {
  crypto.signObj(object, keys.secretKey, keys.publicKey)
  return object
}

/** firehoseURL is where a collector connects to: its signed request, made now, is in the query. */
export function firehoseURL(base, keys) {
  const collectorInfo = { subscriptionType: 'FIREHOSE', timestamp: Date.now() }
  const request = Utils.safeJsonParse(Utils.safeStringify({ collectorInfo, sender: keys.publicKey }))
  return `${base}?data=${encodeURIComponent(Utils.safeStringify(signed(request, keys)))}`
}
