// A stand-in for the real collector, which cannot be had here: the same libraries, the same tables, the same way
// to connect, to store, to verify and to give up. `make day` lets it run for ten minutes.
//
//   node standin.mjs settings.json
//
// It prints a line of JSON for whatever happens. What it owes to the real one:
//
//   - The firehose begins live. After any close, and after a connection that failed, it connects again.
//   - Columns are the members of a record, so one member too many or one NOT NULL too few and the row is not
//     stored. A receipt or originalTx that it has seen is passed over, stored or not.
//   - One cycle after the other is verified as soon as `window` newer ones are there: its counts against POST
//     /cycleData. A cycle whose counts differ is patched by up to six requests, one after the other without a
//     pause. A request that fails is tried again at once, with all of the cycle's; after three tries the process exits.
//   - HTTP connections are kept alive, as Node's agent does by itself.
//
// What is its own: it refuses every answer but 200, where the real one overlooks some; it may be told to lose a share
// of what it receives (`lose`), so that there is something to patch; and it notes all that it heard.
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import sqlite from 'node-sqlite3-wasm'
import WebSocket8 from 'ws'
import WebSocket7 from 'ws7'
import { crypto as network, firehoseURL, signed, Utils } from './network.mjs'

const settings = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const [WebSocket, scheme] = { 7: [WebSocket7, 'ws:'], 8: [WebSocket8, 'http:'] }[settings.ws] // 7 takes no http
const say = (event, more) => fs.writeSync(1, JSON.stringify({ event, ...more }) + '\n')

// --- its database

const db = new sqlite.Database(settings.database)
db.exec(`PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS cycles (cycleMarker TEXT NOT NULL UNIQUE PRIMARY KEY, counter NUMBER NOT NULL, cycleRecord JSON NOT NULL);
CREATE INDEX IF NOT EXISTS cycles_counter ON cycles (counter);
CREATE TABLE IF NOT EXISTS receipts (receiptId TEXT NOT NULL UNIQUE PRIMARY KEY, tx JSON NOT NULL, cycle NUMBER NOT NULL,
  applyTimestamp BIGINT NOT NULL, timestamp BIGINT NOT NULL, signedReceipt JSON NOT NULL, afterStates JSON, beforeStates JSON,
  appReceiptData JSON, executionShardKey TEXT NOT NULL, globalModification BOOLEAN NOT NULL);
CREATE INDEX IF NOT EXISTS receipts_cycle ON receipts (cycle);
CREATE TABLE IF NOT EXISTS originalTxsData (txId TEXT NOT NULL, timestamp BIGINT NOT NULL, cycle NUMBER NOT NULL,
  originalTxData JSON NOT NULL, PRIMARY KEY (txId, timestamp));
CREATE INDEX IF NOT EXISTS originalTxsData_cycle ON originalTxsData (cycle);
CREATE TABLE IF NOT EXISTS checkpoint (type TEXT UNIQUE NOT NULL, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS heard (stream TEXT NOT NULL, hash TEXT NOT NULL, times INTEGER NOT NULL, PRIMARY KEY (stream, hash));
BEGIN;`)

const column = (v) => (typeof v === 'boolean' ? Number(v) : v !== null && typeof v === 'object' ? Utils.safeStringify(v) : v)
const insert = (table, row) =>
  db.run(
    `INSERT OR REPLACE INTO ${table} (${Object.keys(row).join(', ')}) VALUES (${Object.keys(row).fill('?').join(', ')})`,
    Object.values(row).map(column),
  )
const count = (table, cycle) => db.get(`SELECT count(*) AS n FROM ${table} WHERE cycle = ?`, [cycle]).n
const hasCycle = (counter) => db.get('SELECT 1 AS there FROM cycles WHERE counter = ? LIMIT 1', [counter]) !== null
const latestCycle = () => db.get('SELECT max(counter) AS n FROM cycles').n ?? -1
const checkpoint = () => db.get(`SELECT value FROM checkpoint WHERE type = 'cycle'`)?.value ?? 0

const seen = { receipts: new Map(), originalTxsData: new Map() }
const figures = { heard: 0, repeated: 0, lost: 0, unstored: 0, cyclesAgain: 0, verified: 0, patched: 0, requests: 0, failed: 0, closes: {} }

/** store is what becomes of a receipt or an originalTx, wherever it comes from. */
function store(table, id, timestamp, row, onlyNew) {
  if (seen[table].get(id) === timestamp) return
  seen[table].set(id, timestamp)
  if (onlyNew && db.get(`SELECT 1 AS there FROM ${table} WHERE ${table === 'receipts' ? 'receiptId' : 'txId'} = ?`, [id]) !== null) return
  try {
    insert(table, row)
  } catch (error) {
    figures.unstored++
    say('unstored', { table, id, error: error.message })
  }
}
const storeReceipt = (r, onlyNew) => store('receipts', r.tx.txId, r.timestamp, r, onlyNew)
const storeOriginalTx = (o, onlyNew) => store('originalTxsData', o.txId, o.timestamp, o, onlyNew)

function storeCycle({ cycleRecord, cycleMarker }) {
  if (cycleRecord.counter < latestCycle() && hasCycle(cycleRecord.counter)) figures.cyclesAgain++ // it rewrites block times
  insert('cycles', { counter: cycleRecord.counter, cycleRecord, cycleMarker })
  const fiveMinutesAgo = Date.now() - 300_000
  for (const map of Object.values(seen)) for (const [id, timestamp] of map) if (timestamp < fiveMinutesAgo) map.delete(id)
}

// --- the firehose

const loses = (id) => parseInt(id.slice(-4), 16) < (settings.lose ?? 0) * 0x10000

function take(text) {
  const message = Utils.safeJsonParse(text)
  if (message.sign.owner !== settings.distributor || !network.verifyObj(message)) throw new Error('does not verify')
  const stream = Object.keys(message)[0]
  const record = text.slice(`{"${stream}":`.length, text.lastIndexOf(',"sign":'))
  const hash = crypto.createHash('sha256').update(record).digest('hex').slice(0, 24)
  figures.heard++
  const { times } = db.get('INSERT INTO heard VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times', [stream, hash])
  if (times > 1) figures.repeated++
  if (message.receipt) {
    if (loses(message.receipt.tx.txId)) return figures.lost++
    storeReceipt(message.receipt)
  } else if (message.cycle) {
    if (loses(message.cycle.cycleMarker)) return figures.lost++
    storeCycle(message.cycle)
  } else if (message.originalTx) {
    if (loses(message.originalTx.txId)) return figures.lost++
    storeOriginalTx(message.originalTx)
  }
}

let reconnecting = false
let socket
function connect() {
  socket = new WebSocket(firehoseURL(settings.url.replace('http:', scheme), settings.keys))
  socket.onopen = () => {
    reconnecting = false
    say('open')
  }
  socket.on('message', (data) => {
    try {
      take(data.toString('utf8'))
    } catch (error) {
      say('fault', { error: error.message, message: data.toString('utf8').slice(0, 300) })
    }
  })
  socket.onerror = (error) => {
    reconnecting = false
    say('error', { error: error.message })
  }
  socket.onclose = ({ code }) => {
    figures.closes[code] = (figures.closes[code] ?? 0) + 1
    say('close', { code })
    if (code !== 1000 && code !== 1001) reconnecting = false
    if (reconnecting) return
    reconnecting = true
    setTimeout(connect, settings.reconnectMs)
  }
}

// --- the HTTP API

function post(path, parameters) {
  const body = JSON.stringify(signed({ ...parameters, sender: settings.keys.publicKey, sign: undefined }, settings.keys))
  figures.requests++
  return new Promise((resolve, reject) => {
    const failed = (why) => {
      figures.failed++
      say('failed', { path, why })
      reject(new Error(`${path}: ${why}`))
    }
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }
    const request = http.request(settings.url + path, { method: 'POST', headers, timeout: 45_000 }, (response) => {
      const parts = []
      response.on('data', (part) => parts.push(part))
      response.on('error', (error) => failed(error.message))
      response.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8')
        if (response.statusCode !== 200) return failed(`status ${response.statusCode}: ${text.slice(0, 200)}`)
        resolve(Utils.safeJsonParse(text))
      })
    })
    request.on('timeout', () => request.destroy(new Error('no answer in 45 s')))
    request.on('error', (error) => failed(error.code ?? error.message))
    request.end(body)
  })
}

/** thrice does something at most three times, at once one after the other; then the process exits. */
async function thrice(what, action) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await action()
    } catch (error) {
      say('attempt', { what, attempt, error: error.message })
      if (attempt === 3) {
        say('exit', { what })
        end(1)
      }
    }
  }
}

async function patch(cycle) {
  for (const record of (await post('/cycleinfo', { start: cycle, end: cycle })).cycleInfo)
    if (!hasCycle(record.counter)) insert('cycles', { counter: record.counter, cycleRecord: record, cycleMarker: record.marker })
  for (const [path, member, storeOne] of [
    ['/receipt', 'receipts', storeReceipt],
    ['/originalTx', 'originalTxs', storeOriginalTx],
  ]) {
    const total = (await post(path, { startCycle: cycle, endCycle: cycle, type: 'count' }))[member]
    for (let page = 1; page <= Math.ceil(total / 100); page++)
      for (const row of (await post(path, { startCycle: cycle, endCycle: cycle, page }))[member]) storeOne(row, true)
  }
}

async function verify() {
  let expected = { cycle: -1 } // asked for once a cycle
  for (;;) {
    const next = checkpoint() + 1
    while (latestCycle() < next + settings.window) await sleep(settings.waitMs)
    if (expected.cycle !== next) {
      const { data } = await thrice(`cycleData of ${next}`, () => post('/cycleData', { cycle: next }))
      expected = { cycle: next, receipts: data.totalReceipts, originalTxs: data.totalTransactions }
    }
    if (hasCycle(next) && count('receipts', next) === expected.receipts && count('originalTxsData', next) === expected.originalTxs) {
      db.run(`REPLACE INTO checkpoint (type, value) VALUES ('cycle', ?)`, [next])
      figures.verified++
      say('verified', { cycle: next })
      continue
    }
    figures.patched++
    await thrice(`patch of ${next}`, () => patch(next))
    await sleep(0) // messages get their turn
  }
}

/** end leaves the database as it is. */
function end(status) {
  say('figures', figures)
  db.exec('COMMIT')
  db.close()
  process.exit(status)
}

setInterval(() => {
  say('figures', figures)
  db.exec('COMMIT; BEGIN')
}, 1000)
process.on('SIGINT', () => {
  socket.terminate()
  end(0)
})
connect()
await verify()
