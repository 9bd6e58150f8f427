import assert from "node:assert/strict"
import { onTestFinished, test } from "vitest"
import { LiveError, produceLive, readLive } from "../dist/index.js"
import { gateway, proxy } from "./world.mjs"

async function texts(reader) {
  const found = []
  for await (const chunk of reader) found.push(chunk.text)
  return found
}

test("every chunk once and in order, whatever fails on the way", async ({ signal }) => {
  const hub = await gateway(onTestFinished)
  const kinds = [502, "drop", "", 503, { after: 700 }, "", 404, { after: 3000 }, ""]
  const bad = await proxy(onTestFinished, hub, (n) => kinds[n % kinds.length])
  const words = Array.from({ length: 2000 }, (_, n) => (n % 97 === 0 ? `two\nlines ${n}` : n % 89 === 0 ? "" : n % 83 === 0 ? `\ufeffcarriage\rreturn ${n}\r\n` : `word ${n} ü`))
  const reader = readLive(`${bad}/v1/live/answer`, { signal })
  const reading = texts(reader)
  const producer = await produceLive(`${bad}/v1/live/answer`, { metadata: { model: "small" }, signal })
  for (const word of words) await producer.publish(word)
  const verdict = await producer.done({ words: words.length })
  assert.deepEqual(verdict, { kind: "done", output: { words: 2000 } })
  assert.deepEqual(await reading, words)
  assert.deepEqual(reader.verdict, verdict)
  assert.equal(reader.state, "ended")
  assert.ok(reader.resumes > 0, "nothing was cut")
})

test("bytes that are no text", async ({ signal }) => {
  const url = `${await gateway(onTestFinished)}/v1/live/bytes`
  const producer = await produceLive(url, { signal })
  const sent = [new Uint8Array([0xff, 10, 0, 13]), new TextEncoder().encode("text\r"), new Uint8Array([13])]
  await producer.publish(sent[0])
  await producer.done()
  for await (const chunk of readLive(url)) {
    assert.equal(chunk.text, undefined)
    assert.deepEqual(chunk.bytes, sent[0])
  }
})

test("a reader resumes by cursor and stops when it is told", async ({ signal }) => {
  const url = `${await gateway(onTestFinished)}/v1/live/answer`
  const producer = await produceLive(url, { signal })
  for (const word of ["a", "b", "c"]) await producer.publish(word)
  let cursor = ""
  for await (const chunk of readLive(url)) {
    cursor = chunk.cursor
    if (chunk.text === "b") break
  }
  const stop = new AbortController()
  const found = []
  await assert.rejects(async () => {
    for await (const chunk of readLive(url, { cursor, signal: stop.signal })) {
      found.push(chunk.text)
      stop.abort(new Error("enough"))
    }
  }, /enough/)
  assert.deepEqual(found, ["c"])
  await producer.done()
})

test("not yet, and gone", async ({ signal }) => {
  const hub = await gateway(onTestFinished)
  await assert.rejects(texts(readLive(`${hub}/v1/live/never`, { wait: 1000 })), (e) => e instanceof LiveError && e.code === "not_found")
  const states = []
  const reading = texts(readLive(`${hub}/v1/live/later`, { signal, onState: (s) => states.push(s) }))
  const producer = await produceLive(`${hub}/v1/live/later`, { signal })
  await producer.publish("there")
  await producer.done()
  assert.deepEqual(await reading, ["there"])
  assert.deepEqual(states, ["waiting", "reading", "ended"])
  await assert.rejects(texts(readLive(`${hub}/v1/live/later`, { cursor: "nonsense" })), (e) => e.code === "invalid_cursor")
})

test("a producer goes on in another process, hears readers and is fenced", async ({ signal }) => {
  const url = `${await gateway(onTestFinished)}/v1/live/answer`
  const first = await produceLive(url, { signal })
  await first.publish("one")
  await first.flush()
  let heard
  const message = new Promise((resolve) => (heard = resolve))
  let asked
  const stop = new Promise((resolve) => (asked = resolve))
  const second = await produceLive(url, {
    resume: first.state(),
    onMessage: (data) => heard(new TextDecoder().decode(data)),
    onStop: (by, reason) => asked(reason),
  })
  await second.publish("two")
  await second.flush()
  await fetch(`${url}/messages`, { method: "POST", body: "hello" })
  assert.equal(await message, "hello")
  await fetch(`${url}/cancel?wait=0`, { method: "POST", body: JSON.stringify({ reason: "enough" }) })
  assert.equal(await stop, "enough")
  await assert.rejects(produceLive(url, { signal }), (e) => e.code === "already_produced")
  const third = await produceLive(url, { takeover: true, signal })
  await assert.rejects(async () => {
    await second.publish("late")
    await second.flush()
  }, (e) => e.code === "fenced" && e.details.generation > 0)
  await third.fail("no luck")
  await assert.rejects(produceLive(url, { once: true }), (e) => e.code === "already_produced")
})
