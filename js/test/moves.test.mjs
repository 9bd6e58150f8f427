// A page that goes, into the back/forward cache or frozen, and comes back. Node has no such events: the test makes them.
import assert from "node:assert/strict"
import { test } from "vitest"

const events = new EventTarget()
globalThis.addEventListener = events.addEventListener.bind(events)
const { readLive } = await import("../dist/index.js")
const happens = (name, more) => events.dispatchEvent(Object.assign(new Event(name), more))

/** A gateway of fixed answers: each is a status, or the text of an event stream that stays open. */
function answers(list, asked) {
  return async (url, { signal }) => {
    asked.push(url)
    const answer = list.shift()
    if (typeof answer === "number") return new Response("", { status: answer, headers: { "Retry-After": "15" } })
    const body = new ReadableStream({
      start(out) {
        out.enqueue(new TextEncoder().encode(answer))
        signal.addEventListener("abort", () => out.error(signal.reason))
      },
    })
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } })
  }
}

for (const [name, more] of [["pageshow", { persisted: true }], ["resume"], ["online"]]) {
  test(`${name} ends a long pause and drops a silent connection`, { timeout: 10_000 }, async () => {
    const asked = []
    let paused
    const pause = new Promise((resolve) => (paused = resolve))
    const fetch = answers([503, "id: 1-1\ndata: a\n\n", "id: 1-2\ndata: b\n\nevent: end\ndata: {\"kind\":\"done\"}\n\n"], asked)
    const reader = readLive("http://hub/v1/live/a", { fetch, maxPause: 1, onRetry: paused })
    const texts = []
    const reading = (async () => {
      for await (const { text } of reader) {
        texts.push(text)
        if (text === "a") setTimeout(() => happens(name, more)) // nothing comes on this connection any more
      }
    })()
    await pause
    await new Promise((resolve) => setTimeout(resolve))
    happens("pageshow", { persisted: false }) // of a page that has loaded: no return
    await new Promise((resolve) => setTimeout(resolve))
    assert.equal(asked.length, 1)
    happens(name, more)
    await reading
    assert.deepEqual(texts, ["a", "b"])
    assert.equal(new URL(asked[2]).searchParams.get("cursor"), "1-1")
  })
}
