// The client of AG-UI reads runs that are live streams.
import assert from "node:assert/strict"
import { HttpAgent } from "@ag-ui/client"
import { onTestFinished, test } from "vitest"
import { publishRun, runResponse } from "../dist/ag-ui.js"
import { twoGateways } from "./world.mjs"

/** Events of which the test says when they come. */
function script() {
  const waiting = []
  let wake = () => {}
  return {
    say(...events) {
      waiting.push(...events)
      wake()
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const event = waiting.shift()
        if (event instanceof Error) throw event
        if (event === undefined) await new Promise((resolve) => (wake = resolve))
        else if (event === "end") return
        else yield event
      }
    },
  }
}

const start = [{ type: "RUN_STARTED", threadId: "t", runId: "r" }, { type: "TEXT_MESSAGE_START", messageId: "m", role: "assistant" }]
const word = (delta) => ({ type: "TEXT_MESSAGE_CONTENT", messageId: "m", delta })
const finish = [{ type: "TEXT_MESSAGE_END", messageId: "m" }, { type: "RUN_FINISHED", threadId: "t", runId: "r" }]

/** Runs an agent on a stream. It resolves with what it has said, and with the error that ended it. */
function agent(url, onText = () => {}) {
  let text = ""
  let failed
  const agent = new HttpAgent({ url, threadId: "t", fetch: (url, { signal }) => Promise.resolve(runResponse(url, { signal })) })
  const hears = {
    onTextMessageContentEvent: ({ event }) => onText((text += event.delta)),
    onRunErrorEvent: ({ event }) => void (failed = event),
  }
  return agent.runAgent({ runId: "r" }, hears).then(
    () => ({ text, failed }),
    () => ({ text, failed }),
  )
}

test("a run is read at two gateways, from its start", async () => {
  const [here, there] = await twoGateways(onTestFinished)
  const events = script()
  const run = publishRun(`${here}/v1/live/run`, events)
  events.say(...start, word("Hello"))
  let heard
  const began = new Promise((resolve) => (heard = resolve))
  const first = agent(`${there}/v1/live/run`, heard)
  await began
  events.say(word(", "))
  const second = agent(`${here}/v1/live/run`)
  events.say(word("world"), ...finish, "end")
  assert.deepEqual(await run, { kind: "done" })
  assert.deepEqual(await Promise.all([first, second]), Array(2).fill({ text: "Hello, world", failed: undefined }))
})

test("an agent hears how a run fails, and that it was stopped", async () => {
  const [here, there] = await twoGateways(onTestFinished)
  const events = script()
  const run = publishRun(`${here}/v1/live/fails`, events)
  const reader = agent(`${there}/v1/live/fails`)
  events.say(...start, word("Hel"), new Error("out of words"))
  assert.deepEqual(await run, { kind: "failed", reason: "out of words" })
  assert.deepEqual(await reader, { text: "Hel", failed: { type: "RUN_ERROR", message: "out of words" } })

  const others = script()
  const stopped = publishRun(`${here}/v1/live/stops`, others, { onStop: () => others.say("end") })
  const hearer = agent(`${there}/v1/live/stops`)
  others.say(...start)
  while ((await fetch(`${there}/v1/live/stops/cancel?wait=0`, { method: "POST", body: '{"reason":"enough"}' })).status !== 202);
  assert.deepEqual(await stopped, { kind: "cancelled", reason: "enough" })
  assert.deepEqual(await hearer, { text: "", failed: { type: "RUN_ERROR", message: "enough", code: "cancelled" } })
})

// The client of AG-UI is given the address of a stream and ?raw=1, and nothing else. A run is published as events in JSON,
// a chunk each, by any program that speaks HTTP.
test("a run straight at two gateways, without the package: refresh, stop and the end", async () => {
  const gateways = await twoGateways(onTestFinished)
  const publish = async (at, id, producer, first, ...events) => {
    const response = await fetch(`${at}/v1/live/${id}/chunks?first=${first}`, {
      method: "POST",
      headers: { "Content-Type": "application/x-ndjson", "Streamhub-Producer": producer },
      body: events.map((event) => JSON.stringify(event) + "\n").join(""),
    })
    assert.equal(response.status, 200, await response.clone().text())
    return (await response.json()).next
  }
  const straight = (url, onText = () => {}) => {
    let text = ""
    const agent = new HttpAgent({ url, threadId: "t", fetch: (url, { signal }) => fetch(url, { signal }) })
    return agent.runAgent({ runId: "r" }, { onTextMessageContentEvent: ({ event }) => onText((text += event.delta)) }).then(() => text)
  }
  for (const [n, here] of gateways.entries()) {
    const there = gateways[1 - n]
    const address = `${here}/v1/live/straight-${n}`
    const { producer } = await (await fetch(address, { method: "PUT", body: "{}" })).json()
    let next = await publish(here, `straight-${n}`, producer, 1, ...start, word("Hello"))
    // One page reads from the start, is refreshed at the other gateway, and gets all of it again.
    let heard
    const began = new Promise((resolve) => (heard = resolve))
    const first = straight(`${address}?raw=1`, heard)
    assert.equal(await began, "Hello")
    const refreshed = straight(`${there}/v1/live/straight-${n}?raw=1`)
    next = await publish(there, `straight-${n}`, producer, next, word(", world"))
    // The producer ends the run as it was asked to, from the other gateway.
    const messages = fetch(`${here}/v1/live/straight-${n}/messages?wait=30s`, { headers: { "Streamhub-Producer": producer } })
    const stopped = await fetch(`${there}/v1/live/straight-${n}/cancel?wait=0`, { method: "POST", body: "{}" })
    assert.equal(stopped.status, 202)
    assert.ok((await (await messages).json()).stop)
    await publish(here, `straight-${n}`, producer, next, ...finish)
    const ended = await fetch(`${address}/end`, { method: "POST", headers: { "Streamhub-Producer": producer, "Content-Type": "application/json" }, body: '{"kind":"cancelled"}' })
    assert.equal(ended.status, 200)
    assert.deepEqual(await Promise.all([first, refreshed]), Array(2).fill("Hello, world"))
    // A page that comes later finds nothing to resume, unless it asks for what has ended.
    assert.equal((await fetch(`${there}/v1/live/straight-${n}?raw=1&active=1`)).status, 204)
    assert.equal(await straight(`${there}/v1/live/straight-${n}?raw=1`), "Hello, world")
  }
})
