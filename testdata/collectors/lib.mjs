// What the tests share: the recorded data, a distributor in a directory of its own, and a collector made of the real
// libraries (npm ws, lib-crypto-utils, lib-types), set up as the real collector sets them up.
import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import WebSocket from 'ws'
import { crypto, firehoseURL, PUBLIC_KEY, Utils } from './network.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const binary = path.resolve(here, '../../bin/distributor')
export const recorded = JSON.parse(gunzipSync(fs.readFileSync(path.join(here, '../firehose.json.gz'))))
export const records = new Map(recorded.records.map((r) => [r.id, r]))

/** until polls for a condition; a promise that fails names what did not happen. */
export async function until(what, condition, ms = 15000) {
  const end = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`)
    await sleep(10)
  }
}

const isAlive = (port) =>
  new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port, path: '/is-alive', agent: false }, (r) => resolve(r.resume().statusCode === 200))
    request.on('error', () => resolve(false))
  })

/** Distributor is the real binary in a temporary directory. */
export class Distributor {
  static async start(config, prepare) {
    const d = new Distributor()
    d.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'distributor-collectors-'))
    d.logs = path.join(d.dir, 'data-logs')
    fs.mkdirSync(d.logs)
    await prepare?.(d.logs)
    fs.writeFileSync(
      path.join(d.dir, 'distributor-config.json'),
      JSON.stringify({ LISTEN_ADDR: '127.0.0.1', DISTRIBUTOR_PORT: 0, DATA_LOG_DIR: d.logs, NUMBER_OF_WORKERS: 1, LOG_FORMAT: 'json', ...config }),
    )
    d.output = ''
    d.process = spawn(binary, ['serve'], { cwd: d.dir, stdio: ['ignore', 'ignore', 'pipe'] })
    d.exited = once(d.process, 'exit')
    d.process.stderr.setEncoding('utf8').on('data', (text) => (d.output += text))
    await until('the distributor distributes', async () => {
      if (d.process.exitCode !== null) throw new Error('the distributor did not start: ' + d.output)
      d.port = Number(/"msg":"distributing","address":"[^"]*:(\d+)"/.exec(d.output)?.[1])
      return d.port && (await isAlive(d.port))
    })
    return d
  }

  /** stop ends it as an operator does, and fails unless it ends well. */
  async stop() {
    this.process.kill('SIGTERM')
    const [code, signal] = await this.exited
    fs.rmSync(this.dir, { recursive: true, force: true })
    if (code !== 0) throw new Error(`the distributor ended with ${code ?? signal}: ${this.output}`)
  }
}

/** Collector connects as the real one does, and checks every message with the real libraries. */
export class Collector {
  static async connect(port, keys, options, Socket = WebSocket) {
    const c = new Collector()
    c.messages = []
    c.faults = []
    const scheme = Socket === WebSocket ? 'http' : 'ws' // as the real one has it; ws 7 takes no http
    c.socket = new Socket(firehoseURL(`${scheme}://127.0.0.1:${port}`, keys), options)
    c.socket.on('message', (data) => c.take(data.toString('utf8')))
    c.socket.on('close', (code) => (c.closed = code))
    await once(c.socket, 'open')
    return c
  }

  take(text) {
    this.messages.push(text)
    const message = Utils.safeJsonParse(text)
    if (Utils.safeStringify(message) !== text) this.faults.push('not canonical: ' + text.slice(0, 200))
    if (message.sign?.owner !== PUBLIC_KEY) this.faults.push('signed by another: ' + text.slice(0, 200))
    if (!crypto.verifyObj(message)) this.faults.push('does not verify: ' + text.slice(0, 200))
  }

  close() {
    this.socket.terminate()
  }
}

/** expand turns "receipt:1..3*2" into the ids of records, twice over. */
export function expand(ids) {
  return ids.flatMap((id) => {
    const m = /^(\w+):(\d+)\.\.(\d+)(?:\*(\d+))?$/.exec(id)
    if (!m) return [id]
    const once = Array.from({ length: m[3] - m[2] + 1 }, (_, i) => `${m[1]}-${+m[2] + i}`)
    return Array(+(m[4] ?? 1)).fill(once).flat()
  })
}
