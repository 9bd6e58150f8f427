// Kills gateways and Redis under a producer and two readers, one of them in Chromium. The long run is
// that of make test-js-kill; WORDS, KILLS, DRAINS and RESTARTS set its size.
import assert from "node:assert/strict"
import { onTestFinished, test } from "vitest"
import { produceLive, readLive } from "../dist/index.js"
import { browserPath, cluster, page } from "./world.mjs"

const size = (name, otherwise) => Number(process.env[name] ?? otherwise)
const [count, kills, drains, restarts] = [size("WORDS", 400), size("KILLS", 3), size("DRAINS", 2), size("RESTARTS", 1)]
const timeout = size("TIMEOUT", 120) * 1000

const readingScript = `
  window.found = { seen: [] }
  window.reading = import("/streamhub.js").then(async ({ readLive }) => {
    const reader = readLive("/v1/live/answer", { maxPause: 1000 })
    for await (const { text } of reader) found.seen.push(Number(text.slice(5)))
    Object.assign(found, { verdict: reader.verdict, resumes: reader.resumes })
  })
  undefined`

/** What becomes of a reader: numbers of words in the order in which they came. */
function verify(name, { seen, verdict, resumes }) {
  const want = Array.from({ length: count }, (_, n) => n + 1)
  const wrong = seen.findIndex((n, at) => n !== want[at])
  assert.equal(wrong, -1, `${name}: word ${wrong + 1} is ${seen[wrong]}, after ${seen.slice(Math.max(0, wrong - 3), wrong)}`)
  assert.equal(seen.length, count, name)
  assert.deepEqual(verdict, { kind: "done", output: { words: count } }, name)
  console.log(`${name}: ${seen.length} words, ${resumes} resumes`)
}

test("every word once and in order while gateways and Redis die", { timeout }, async ({ signal }) => {
  const hub = await cluster(onTestFinished)
  const url = `${hub.url}/v1/live/answer`
  const inChromium = browserPath && (await page(onTestFinished, hub.url))
  await inChromium?.evaluate(readingScript) // as text: vitest rewrites imports in functions
  const found = { seen: [] }
  const reader = readLive(url, { maxPause: 1000, signal })
  const reading = (async () => {
    for await (const { text } of reader) found.seen.push(Number(text.slice(5)))
    Object.assign(found, { verdict: reader.verdict, resumes: reader.resumes })
  })()
  reading.catch(() => {}) // it is awaited below
  const producer = await produceLive(url, { maxPause: 1000, signal })
  const begun = await (await hub.ask("/v1/live/answer/status")).json()

  // The faults wait for the words, and the words for the faults, so that these are spread over all of it.
  const faults = []
  for (let n = 0; n < Math.max(kills, drains, restarts); n++) {
    for (const gateway of hub.gateways) {
      if (n < kills) faults.push(() => gateway.restart("SIGKILL"))
      if (n < drains / 2) faults.push(() => gateway.restart("SIGTERM"))
    }
    if (n < restarts) faults.push(() => hub.redis.restart())
  }
  const each = count / (faults.length + 1)
  let done = 0
  const breaking = (async () => {
    for (const [n, fault] of faults.entries()) {
      while (found.seen.length < each * n) await tick(signal)
      await fault()
      done++
    }
  })()
  breaking.catch(() => {})
  for (let n = 1; n <= count; n++) {
    while (n > each * (done + 2)) await tick(signal)
    await producer.publish(`word ${n}`)
    await tick(signal)
  }
  await breaking
  const verdict = await producer.done({ words: count })
  assert.deepEqual(verdict, { kind: "done", output: { words: count } })
  await reading
  verify("Node", found)
  if (inChromium) {
    await inChromium.evaluate("reading")
    verify("Chromium", await inChromium.evaluate("found"))
  } else console.log("without a reader in Chromium: there is none on PATH")
  const status = await (await hub.ask("/v1/live/answer/status")).json()
  assert.equal(status.generation, begun.generation, "another generation was begun")
  console.log(`${faults.length} faults`)
})

function tick(signal) {
  signal.throwIfAborted()
  return new Promise((resolve) => setTimeout(resolve, 5))
}
