// A collector that connects again beside itself, as the real one does when it was started before the distributor: its
// older connection is closed with 1000, which npm ws answers by itself, and the newer one goes on exactly there.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket8 from 'ws'
import WebSocket7 from 'ws7'
import { Collector, Distributor, recorded, until } from './lib.mjs'

const TAKEOVERS = 20
const number = (message) => Number(/^\{"receipt":\{"n":(\d+)/.exec(message)[1])

/** flow writes receipts {"n":…} at a rate, until it is stopped. */
function flow(logs, rate) {
  const file = path.join(logs, 'receipt-log1.txt')
  const began = Date.now()
  const f = { written: 0 }
  const timer = setInterval(() => {
    let lines = ''
    for (const due = ((Date.now() - began) * rate) / 1000; f.written < due; f.written++) lines += `{"n":${f.written}}\n`
    fs.appendFileSync(file, lines)
  }, 10)
  f.stop = () => clearInterval(timer)
  return f
}

const prepare = (logs) => {
  fs.writeFileSync(path.join(logs, 'receipt-log1.txt'), '')
  fs.writeFileSync(path.join(logs, 'active-receipt-log.txt'), 'receipt-log1.txt')
}

describe('takeovers', { concurrency: 1 }, () => {
  for (const [version, Socket] of [[7, WebSocket7], [8, WebSocket8]]) {
    for (const rate of [50, 500]) {
      test(`npm ws ${version}, ${rate} records a second: nothing is missed, nothing repeated`, async (t) => {
        const distributor = await Distributor.start({ DRAIN_MS: 1000, LOG_LEVEL: 'debug' }, prepare)
        const records = flow(distributor.logs, rate)
        try {
          const all = [await Collector.connect(distributor.port, recorded.keys.known, {}, Socket)]
          for (let i = 0; i < TAKEOVERS; i++) {
            const older = all.at(-1)
            await until('records come', () => older.messages.length > 5)
            const closed = once(older.socket, 'close')
            all.push(await Collector.connect(distributor.port, recorded.keys.known, {}, Socket))
            await closed
            assert.equal(older.closed, 1000)
          }
          await until('records come', () => all.at(-1).messages.length > 5)
          records.stop()
          await until('the last record comes', () => number(all.at(-1).messages.at(-1)) === records.written - 1)
          const got = all.map((c) => c.messages.map(number))
          const repeats = got.slice(1).map((numbers, i) => Math.max(0, got[i].at(-1) + 1 - numbers[0]))
          const missed = got.slice(1).map((numbers, i) => Math.max(0, numbers[0] - got[i].at(-1) - 1))
          t.diagnostic(`repeats at ${TAKEOVERS} takeovers: ${repeats.join(' ')}`)
          assert.deepEqual(missed.filter((n) => n > 0), [])
          assert.equal(repeats.sort((a, b) => a - b)[TAKEOVERS / 2], 0)
          if (!distributor.output.includes('older connection has not ended in time')) assert.equal(repeats.at(-1), 0)
          assert.deepEqual(all.flatMap((c) => c.faults), [])
          const last = once(all.at(-1).socket, 'close')
          await distributor.stop()
          await last
          assert.equal(all.at(-1).closed, 1012)
        } finally {
          records.stop()
          if (distributor.process.exitCode === null) await distributor.stop()
        }
      })
    }
  }

  test('two connections that displace each other for ever', async (t) => {
    const distributor = await Distributor.start({ DRAIN_MS: 1000, LOG_LEVEL: 'debug' }, prepare)
    const records = flow(distributor.logs, 200)
    const got = []
    let running = true
    let connections = 0
    const keep = async () => {
      while (running) {
        try {
          const c = await Collector.connect(distributor.port, recorded.keys.known)
          connections++
          c.socket.on('message', (data) => got.push(number(data.toString('utf8'))))
          got.push(...c.messages.map(number))
          if (c.socket.readyState === WebSocket8.OPEN) await once(c.socket, 'close')
        } catch {
          // refused, since a newer connection came while this one waited
        }
        await sleep(100)
      }
    }
    try {
      const both = Promise.all([keep(), keep()])
      await until('records come', () => got.length > 5)
      const first = connections
      await until('they have displaced each other 40 times', () => connections >= first + 40, 60000)
      records.stop()
      await until('the last record comes', () => got.includes(records.written - 1))
      running = false
      const different = new Set(got).size
      t.diagnostic(`${connections} connections, ${got.length} messages, ${got.length - different} of them repeats`)
      assert.equal(different, records.written - Math.min(...got), 'records are missing')
      if (!distributor.output.includes('older connection has not ended in time')) assert.equal(got.length, different)
      await distributor.stop()
      await both
    } finally {
      running = false
      records.stop()
      if (distributor.process.exitCode === null) await distributor.stop()
    }
  })
})
