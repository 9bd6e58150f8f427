import assert from "node:assert/strict"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { onTestFinished, test } from "vitest"
import { LiveError, produceLive, readLive } from "../dist/index.js"
import { gateway, proxy, streamhub } from "./world.mjs"

async function texts(reader) {
  const found = []
  for await (const chunk of reader) found.push(chunk.text)
  return found
}

test("every chunk once and in order, whatever fails on the way", async ({ signal }) => {
  const hub = await gateway(onTestFinished)
  const kinds = [502, "drop", "", 503, { after: 700 }, "", 404, { after: 3000 }, ""]
  // 404 of a proxy passes only where a gateway has answered before.
  const bad = await proxy(onTestFinished, hub, (n) => (n === 6 ? 503 : kinds[n % kinds.length]))
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

test("tokens and tickets are asked for each connection, and a refusal is final", async ({ signal }) => {
  const dir = await mkdtemp(join(tmpdir(), "streamhub-js-"))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const secret = join(dir, "secret")
  await writeFile(secret, "a secret of a test that is long enough for HS256")
  const hub = await gateway(onTestFinished, "--auth", "jwt", "--jwt-hmac-secret-file", secret)
  const bad = await proxy(onTestFinished, hub, (n) => (n % 3 === 1 ? { after: 400 } : n % 3 === 2 ? 503 : ""))
  const token = (await streamhub("token", "mint", "--jwt-hmac-secret-file", secret, "--scope", "streamhub::*::*::read", "--scope", "streamhub::*::*::write")).trim()
  let asked = 0
  const ticket = async () => {
    asked++
    const body = JSON.stringify({ read: ["live/answer"], ttl: "60s" })
    const answer = await fetch(`${hub}/v1/tickets`, { method: "POST", headers: { Authorization: `Bearer ${token}` }, body })
    if (!answer.ok) throw new Error(await answer.text())
    return (await answer.json()).ticket
  }
  const reader = readLive(`${bad}/v1/live/answer`, { ticket, maxPause: 100, signal })
  const reading = texts(reader)
  const producer = await produceLive(`${bad}/v1/live/answer`, { token: () => token, maxPause: 100, signal })
  const words = Array.from({ length: 50 }, (_, n) => `word ${n}`)
  for (const word of words) await producer.publish(word)
  await producer.done()
  assert.deepEqual(await reading, words)
  assert.ok(reader.resumes > 0 && asked > reader.resumes, `${asked} tickets, ${reader.resumes} resumes`)
  const refused = (code) => (e) => e instanceof LiveError && e.code === code
  await assert.rejects(texts(readLive(`${hub}/v1/live/answer`)), refused("unauthenticated"))
  await assert.rejects(texts(readLive(`${hub}/v1/live/other`, { ticket })), refused("permission_denied"))
  await assert.rejects(produceLive(`${hub}/v1/live/answer`, { ticket }), refused("permission_denied"))
})

test("a quota is final for a producer", async ({ signal }) => {
  const full = await proxy(onTestFinished, await gateway(onTestFinished), (n) => (n > 0 ? 507 : ""))
  const refused = (e) => e instanceof LiveError && e.code === "http_507"
  const producer = await produceLive(`${full}/v1/live/answer`, { signal })
  await assert.rejects(async () => {
    await producer.publish("word")
    await producer.flush()
  }, refused)
  await assert.rejects(produceLive(`${full}/v1/live/other`, { signal }), refused)
})

test("a request to stop reaches the producer soon", async ({ signal }) => {
  const url = `${await gateway(onTestFinished)}/v1/live`
  const times = []
  for (let n = 0; n < 5; n++) {
    let asked
    const stop = new Promise((resolve) => (asked = resolve))
    const producer = await produceLive(`${url}/answer-${n}`, { signal, onStop: asked })
    await producer.publish("word")
    await producer.flush()
    const start = performance.now()
    await fetch(`${url}/answer-${n}/cancel?wait=0`, { method: "POST" })
    await stop
    times.push(Math.round(performance.now() - start))
    await producer.cancelled()
  }
  console.log(`stop reached the producer after ${times} ms`)
})

test("connections that break without an error are made again", async ({ signal }) => {
  const hub = await gateway(onTestFinished)
  const kinds = ["", "hold", { after: 300, hold: true }, "hold"]
  const bad = await proxy(onTestFinished, hub, (n) => kinds[n % kinds.length])
  const options = { silence: 300, maxPause: 100, signal }
  const words = Array.from({ length: 30 }, (_, n) => `word ${n}`)
  const producer = await produceLive(`${bad}/v1/live/answer`, options)
  for (const word of words) await producer.publish(word)
  const [one, two] = [{}, { group: true }].map((more) => readLive(`${bad}/v1/live/answer`, { ...options, ...more }))
  const reading = Promise.all([texts(one), texts(two)])
  assert.deepEqual(await producer.done(), { kind: "done" })
  assert.deepEqual(await reading, [words, words])
  assert.ok(one.resumes > 0 && two.resumes > 0, `${one.resumes} and ${two.resumes} resumes`)
})
