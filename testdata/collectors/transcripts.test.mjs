// A real collector, connected to the real binary, receives every record of every recorded transcript: byte for byte,
// verified, once and in order.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { perform } from './archiver.mjs'
import { Collector, Distributor, expand, recorded, records, until } from './lib.mjs'

const streamOf = (text) => /^\{"(\w+)":/.exec(text)?.[1]

describe('transcripts', { concurrency: 8 }, () => {
  for (const t of recorded.transcripts) {
    test(`${t.name}: ${t.about}`, async () => {
      const distributor = await Distributor.start(t.config, (logs) => perform(t.setup, logs))
      try {
        const collector = await Collector.connect(distributor.port, recorded.keys.known)
        await perform(t.steps, distributor.logs)
        const optional = new Set(expand(t.optional ?? []).map((id) => records.get(id).message))
        const want = Object.fromEntries(Object.entries(t.expected).map(([s, ids]) => [s, expand(ids).map((id) => records.get(id).message)]))
        const count = Object.values(want).flat().length
        await until(`${count} records`, () => collector.messages.length >= count - optional.size, 10000).catch(() => {}) // the comparison tells more
        await sleep(300) // so that what must not come has time to come

        assert.deepEqual(collector.faults, [])
        for (const [stream, messages] of Object.entries(want)) {
          const needed = (list) => list.filter((m) => !optional.has(m))
          assert.deepEqual(needed(collector.messages.filter((m) => streamOf(m) === stream)), needed(messages), stream)
        }
        collector.close()
      } finally {
        await distributor.stop()
      }
    })
  }
})
