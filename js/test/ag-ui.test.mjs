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
