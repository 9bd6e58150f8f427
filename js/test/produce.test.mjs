// What a producer and a page may rely on when a program fails, restarts or is late.
import assert from "node:assert/strict"
import { onTestFinished, test } from "vitest"
import { cancelLive, produceLive, readLive, sendMessage } from "../dist/index.js"
import { gateway } from "./world.mjs"

const aborted = (signal) => new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener("abort", resolve)))

async function texts(reader) {
  const found = []
  for await (const chunk of reader) found.push(chunk.text)
  return found
}

test("a state that is out of date drops nothing", async ({ signal }) => {
  const url = `${await gateway(onTestFinished)}/v1/live/answer`
  const first = await produceLive(url, { signal })
  await first.publish("one")
  await first.flush()
  const resume = first.state()
  for (const word of ["two", "three"]) await first.publish(word)
  await first.flush()
  await assert.rejects(produceLive(url, { signal, resume }), (e) => {
    assert.deepEqual([e.code, e.details], ["gap", { next: 4, resume: 2 }])
    return true
  })
  const second = await produceLive(url, { signal, resume, resumeAt: "stored" })
  assert.deepEqual(second.state(), { ...resume, next: 4 })
  await second.publish("four")
  await second.done()
  assert.deepEqual(await texts(readLive(url, { signal })), ["one", "two", "three", "four"])
})

test("a producer that is closed leaves no stream open", async ({ signal }) => {
  const hub = await gateway(onTestFinished)
  const open = await produceLive(`${hub}/v1/live/open`, { signal })
  await open.publish("word")
  await open.close()
  const reader = readLive(`${hub}/v1/live/open`, { signal })
  assert.deepEqual(await texts(reader), ["word"])
  assert.deepEqual(reader.verdict, { kind: "failed", reason: "the producer was closed" })
  await assert.rejects(open.publish("late"), { code: "closed" })
  await open.close()

  const done = await produceLive(`${hub}/v1/live/done`, { signal })
  await done.done("all")
  await done[Symbol.asyncDispose]()
  const other = readLive(`${hub}/v1/live/done`, { signal })
  await texts(other)
  assert.deepEqual(other.verdict, { kind: "done", output: "all" })
})

test("the signal of a producer ends with a stop, and with the generation", async ({ signal }) => {
  const hub = await gateway(onTestFinished)
  const first = await produceLive(`${hub}/v1/live/answer`, { signal })
  await first.publish("word")
  const reader = readLive(`${hub}/v1/live/answer`, { signal })
  assert.equal(reader.generation, undefined)
  const chunks = reader[Symbol.asyncIterator]()
  const { value } = await chunks.next()
  assert.equal(reader.generation, value.generation)

  const second = await produceLive(`${hub}/v1/live/answer`, { signal, takeover: true })
  await aborted(first.signal)
  assert.equal(first.signal.reason.code, "fenced")

  // A late stop is for what was read.
  await cancelLive(`${hub}/v1/live/answer`, { signal, generation: reader.generation, reason: "late" })
  assert.equal(second.signal.aborted, false)
  await second.publish("next")
  const other = await readLive(`${hub}/v1/live/answer`, { signal, group: true })[Symbol.asyncIterator]().next()
  assert.ok(other.value.generation > reader.generation)
  await cancelLive(`${hub}/v1/live/answer`, { signal, generation: other.value.generation, reason: "enough" })
  await aborted(second.signal)
  assert.deepEqual([second.signal.reason.code, second.signal.reason.details.reason], ["stopped", "enough"])
  assert.deepEqual(await second.cancelled("enough"), { kind: "cancelled", reason: "enough" })
})

test("messages, and the first of several answers", async ({ signal }) => {
  const url = `${await gateway(onTestFinished)}/v1/live/answer?space=other`
  const heard = []
  let third
  const all = new Promise((resolve) => (third = resolve))
  const onMessage = (data) => heard.push(new TextDecoder().decode(data)) === 2 && third()
  const producer = await produceLive(url, { signal, onMessage })
  await sendMessage(url, "yes", { signal, once: "which & what" })
  await assert.rejects(sendMessage(url, "no", { signal, once: "which & what" }), { code: "conflict" })
  await sendMessage(url, new TextEncoder().encode("more"), { signal })
  await all
  assert.deepEqual(heard, ["yes", "more"])
  await producer.close()
})

test("a poll for messages that outlives its token does not stop the producer", async ({ signal }) => {
  const hub = await gateway(onTestFinished)
  let polls = 0
  let second
  const again = new Promise((resolve) => (second = resolve))
  const fetching = async (url, init) => {
    if (!url.includes("/messages")) return fetch(url, init)
    if (++polls === 2) second()
    return Response.json({ code: "unauthenticated", message: "the token has expired" }, { status: 401 })
  }
  const made = await produceLive(`${hub}/v1/live/answer`, { signal })
  const resume = { ...made.state(), heartbeat_ms: 20 }
  const producer = await produceLive(`${hub}/v1/live/answer`, { signal, resume, fetch: fetching, token: () => "the same", onMessage: () => {} })
  await again
  await producer.publish("word")
  assert.deepEqual(await producer.done(), { kind: "done" })
})
