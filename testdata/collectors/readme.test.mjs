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

test("the README's collector gets and verifies every record", async () => {
  const readme = fs.readFileSync(path.join(here, '../../README.md'), 'utf8')
  const [, program] = /<!-- collector: .*\n```js\n([^]*?)```/.exec(readme)
  const isReceipt = (r) => r.stream === 'receipt' && r.line !== undefined && r.message !== undefined
  const lines = [...records.values()].filter(isReceipt).map((r) => r.line + '\n')
  const distributor = await Distributor.start({ DRAIN_MS: 0 }, (logs) => {
    fs.writeFileSync(path.join(logs, 'receipt-log1.txt'), '')
    fs.writeFileSync(path.join(logs, 'active-receipt-log.txt'), 'receipt-log1.txt')
  })
  // From here, so that its imports are found.
  const url = `ws://127.0.0.1:${distributor.port}`
  const collector = spawn('node', ['--input-type=module', '-', url], { cwd: here })
  const exited = once(collector, 'exit')
  collector.stdin.end(program)
  let printed = '', failed = ''
  collector.stdout.on('data', (text) => (printed += text))
  collector.stderr.on('data', (text) => (failed += text))
  const received = () => printed.split('\n').filter((line) => line === 'receipt').length
  const append = (text) => fs.appendFileSync(path.join(distributor.logs, 'receipt-log1.txt'), text)
  const ended = () => collector.exitCode !== null
  try {
    // A first connection begins with the next record: write until one arrives.
    await until('a first record', () => {
      append(lines[0])
      return received() > 0 || ended()
    }, 60000)
    const before = received()
    append(lines.join(''))
    await until('all records', () => received() >= before + lines.length || ended(), 60000)
    assert.equal(collector.exitCode, null, failed)
    assert.equal(failed, '')
  } finally {
    collector.kill()
    await exited
    await distributor.stop()
  }
})
