// Does to a directory of data logs what a recorded archiver did: the steps of a transcript.
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expand, records } from './lib.mjs'

const lineOf = (id) => {
  const r = records.get(id)
  return r.line_b64 === undefined ? Buffer.from(r.line) : Buffer.from(r.line_b64, 'base64')
}

/** bytesOf is what a step writes. */
function bytesOf(step) {
  if (step.b64 !== undefined) return Buffer.from(step.b64, 'base64')
  if (step.ids === undefined) return Buffer.from(step.text ?? '')
  const end = Buffer.from(step.eol ?? '\n')
  let bytes = Buffer.concat([...expand(step.ids).flatMap((id) => [lineOf(id), end]), Buffer.from(step.then ?? '')])
  if (step.no_last_eol) bytes = bytes.subarray(0, -end.length)
  if (step.cut) bytes = bytes.subarray(0, step.cut) // a negative number leaves off so many
  if (step.from) bytes = bytes.subarray(step.from)
  return bytes
}

export async function perform(steps, dir) {
  for (const step of steps) {
    const file = step.file && path.join(dir, step.file)
    switch (step.op) {
      case 'put':
        fs.writeFileSync(file, bytesOf(step))
        break
      case 'append':
        fs.appendFileSync(file, bytesOf(step))
        break
      case 'each':
        for (const id of expand(step.ids)) {
          fs.appendFileSync(file, bytesOf({ ...step, ids: [id] }))
          await sleep(step.ms ?? 0)
        }
        break
      case 'active':
        await point(step, dir)
        break
      case 'rename':
        fs.renameSync(path.join(dir, step.from), path.join(dir, step.to))
        break
      case 'unlink':
        fs.rmSync(file, { force: true })
        break
      case 'truncate':
        fs.truncateSync(file, step.size)
        break
      case 'mkdir':
        fs.mkdirSync(file ?? dir, { recursive: true })
        break
      case 'sleep':
        await sleep(step.ms)
        break
      default:
        throw new Error('unknown step ' + step.op)
    }
  }
}

/** point rewrites the active file, in one of the ways in which that happens. */
async function point(step, dir) {
  const pointer = path.join(dir, `active-${step.stream}-log.txt`)
  const text = step.text ?? `${step.stream}-log${step.n}.txt`
  if (step.how === 'rename') {
    fs.writeFileSync(pointer + '.new', text)
    fs.renameSync(pointer + '.new', pointer)
    return
  }
  if (step.how === 'slow') {
    fs.writeFileSync(pointer, '')
    await sleep(step.ms)
  }
  fs.writeFileSync(pointer, text)
}
