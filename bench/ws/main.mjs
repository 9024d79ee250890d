// npm ws, broadcasting as its README shows: client.send for each of wss.clients that is open.
// Commands and back-pressure are those of ../peers/run.go.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { WebSocket, WebSocketServer } from 'ws'

const window = 256 << 10 // bytes that may wait for a client in user space
const checkEvery = 8 // messages

let joined = 0
let left // of the file

const wss = new WebSocketServer({ noServer: true, perMessageDeflate: false })
wss.on('connection', (client) => {
  joined++
  client.on('error', () => {}) // the other end notices
})

function next() {
  let start = 2
  let size = left[1]
  if (size === 126) {
    size = left.readUInt16BE(2)
    start = 4
  } else if (size === 127) {
    size = Number(left.readBigUInt64BE(2))
    start = 10
  }
  const message = left.subarray(start, start + size)
  left = left.subarray(start + size)
  return message
}

function broadcast(data) {
  wss.clients.forEach((client) => {
    if (client.readyState === WebSocket.OPEN) client.send(data, { binary: false })
  })
}

const most = () => {
  let bytes = 0
  for (const client of wss.clients) bytes = Math.max(bytes, client.bufferedAmount)
  return bytes
}

const turn = () => new Promise((resolve) => setImmediate(resolve))
const pause = () => new Promise((resolve) => setTimeout(resolve, 1))

async function burst(messages) {
  for (let i = 0; i < messages; i++) {
    broadcast(next())
    await turn() // as messages from outside would come
    if (i % checkEvery === 0 && most() > window) {
      do await pause()
      while (most() > window / 2)
    }
  }
}

const answer = (more = {}) => {
  process.stdout.write(JSON.stringify(more) + '\n')
}

const commands = {
  serve: (file) => {
    left = readFileSync(file)
    const server = createServer()
    server.on('upgrade', (request, socket, head) => {
      wss.handleUpgrade(request, socket, head, (client) => wss.emit('connection', client, request))
    })
    server.listen(0, '127.0.0.1', 1024, () => {
      answer({ address: `127.0.0.1:${server.address().port}` })
    })
  },
  await: (n) => {
    const check = () => (joined < n ? setTimeout(check, 1) : answer())
    check()
  },
  burst,
  send: () => broadcast(next()),
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    for (const [name, argument] of Object.entries(JSON.parse(line))) {
      if (argument) commands[name](argument)
    }
  })
  .on('close', () => process.exit(0))
