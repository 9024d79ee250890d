// npm ws offers permessage-deflate by itself: with COMPRESSION_LEVEL set, an unmodified collector gets compressed messages,
// and the same ones.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, test } from 'node:test'
import { Collector, Distributor, recorded, records, until } from './lib.mjs'

const receipts = [...records.values()].filter((r) => r.stream === 'receipt' && r.line !== undefined && r.message !== undefined && r.message.length > 1000)

describe('compression', { concurrency: 2 }, () => {
  for (const level of [1, 9]) {
    test(`level ${level}: every record arrives as it is, in fewer bytes`, async () => {
      const distributor = await Distributor.start({ COMPRESSION_LEVEL: level, DRAIN_MS: 1000 }, (logs) => {
        fs.writeFileSync(path.join(logs, 'receipt-log1.txt'), '')
        fs.writeFileSync(path.join(logs, 'active-receipt-log.txt'), 'receipt-log1.txt')
      })
      try {
        const collector = await Collector.connect(distributor.port, recorded.keys.known)
        assert.match(collector.socket.extensions, /^permessage-deflate/)
        const plain = await Collector.connect(distributor.port, recorded.keys.second, { perMessageDeflate: false })
        assert.equal(plain.socket.extensions, '')
        const want = []
        for (let i = 0; i < 60; i++) {
          const some = [0, 1, 2].map((n) => receipts[(3 * i + n) % receipts.length])
          fs.appendFileSync(path.join(distributor.logs, 'receipt-log1.txt'), some.map((r) => r.line + '\n').join(''))
          want.push(...some.map((r) => r.message))
          await until(`${want.length} records`, () => collector.messages.length >= want.length && plain.messages.length >= want.length)
        }
        assert.deepEqual([...collector.faults, ...plain.faults], [])
        assert.deepEqual(collector.messages, want)
        assert.deepEqual(plain.messages, want)
        const [small, large] = [collector, plain].map((c) => c.socket._socket.bytesRead)
        assert.ok(small < 0.6 * large, `${small} bytes with compression, ${large} without`)
        collector.socket.send('a message of its own, compressed or not, is passed over: '.repeat(50))
        const closed = new Promise((resolve) => collector.socket.on('close', resolve))
        collector.socket.close(1000)
        assert.equal(await closed, 1000)
        plain.close()
      } finally {
        await distributor.stop()
      }
    })
  }
})
