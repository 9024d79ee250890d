// The README's collector, as it is written there, gets and verifies records.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Distributor, records, until } from './lib.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))

test("the README's collector prints what it gets, and reconnects", async () => {
  const readme = fs.readFileSync(path.join(here, '../../README.md'), 'utf8')
  const [, program] = /<!-- collector: .*\n```js\n([^]*?)```/.exec(readme)
  const receipts = [...records.values()].filter((r) => r.stream === 'receipt' && r.line !== undefined && r.message !== undefined)
  const distributor = await Distributor.start({ DRAIN_MS: 0 }, (logs) => {
    fs.writeFileSync(path.join(logs, 'receipt-log1.txt'), '')
    fs.writeFileSync(path.join(logs, 'active-receipt-log.txt'), 'receipt-log1.txt')
  })
  // From here, so that its imports are found.
  const collector = spawn('node', ['--input-type=module', '-', `ws://127.0.0.1:${distributor.port}`], { cwd: here })
  const exited = once(collector, 'exit')
  collector.stdin.end(program)
  let printed = '', failed = ''
  collector.stdout.on('data', (text) => (printed += text))
  collector.stderr.on('data', (text) => (failed += text))
  const lines = () => printed.split('\n').filter((line) => line === 'receipt').length
  try {
    // A first connection begins with the next record: write until one arrives.
    await until('a first record', () => {
      fs.appendFileSync(path.join(distributor.logs, 'receipt-log1.txt'), receipts[0].line + '\n')
      return lines() > 0 || collector.exitCode !== null
    }, 60000)
    const before = lines()
    fs.appendFileSync(path.join(distributor.logs, 'receipt-log1.txt'), receipts.map((r) => r.line + '\n').join(''))
    await until('all records', () => lines() >= before + receipts.length || collector.exitCode !== null, 60000)
    assert.equal(collector.exitCode, null, failed)
    assert.equal(failed, '')
  } finally {
    collector.kill()
    await exited
    await distributor.stop()
  }
})
