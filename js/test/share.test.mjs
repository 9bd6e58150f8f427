// Tabs of a browser that share one connection.
import assert from "node:assert/strict"
import { describe, onTestFinished, test } from "vitest"
import { produceLive } from "../dist/index.js"
import { browserPath, chromium, cluster, open } from "./world.mjs"

const script = (options) => `
  window.found = { texts: [] }
  window.reading = import("/streamhub.js").then(async ({ readLive }) => {
    const reader = readLive("/v1/live/answer", ${JSON.stringify({ share: true, maxPause: 1000, ...options })})
    try {
      for await (const { text, bytes, cursor } of reader) {
        if (bytes.length === 0 || !cursor) throw new Error("half a chunk")
        found.texts.push(text)
      }
      found.verdict = reader.verdict
    } catch (error) { found.code = error.code ?? String(error) }
  })
  undefined`

const words = (from, to) => Array.from({ length: to - from }, (_, n) => `word ${from + n}`)

async function has(tab, count) {
  await tab.waitForFunction((count) => window.found.texts.length >= count, count, { polling: 20 })
}

describe.skipIf(!browserPath)("in Chromium", () => {
  test("ten tabs read over one connection, whichever of them is closed", async ({ signal }) => {
    const hub = await cluster(onTestFinished)
    const browser = await chromium(onTestFinished)
    const context = await browser.newContext() // tabs of two contexts share nothing
    const tabs = await Promise.all(Array.from({ length: 10 }, () => open(context, hub.url)))
    await Promise.all(tabs.map((tab) => tab.evaluate(script())))
    const producer = await produceLive(`${hub.url}/v1/live/answer`, { maxPause: 500, signal })
    const publish = async (from, to) => {
      for (const word of words(from, to)) await producer.publish(word)
      await producer.flush()
    }
    await publish(0, 50)
    await Promise.all(tabs.map((tab) => has(tab, 50)))
    assert.equal(hub.most, 1, "event streams at once")
    // A tab that comes late gets everything, and whichever of them reads may be closed.
    const late = await open(context, hub.url)
    await late.evaluate(script())
    await publish(50, 60)
    await has(late, 60)
    await Promise.all(tabs.splice(0, 8).map((tab) => tab.close()))
    tabs.push(late)
    await publish(60, 100)
    await Promise.all(tabs.map((tab) => has(tab, 100)))
    while (hub.readers !== 1) await new Promise((resolve) => setTimeout(resolve, 20)) // the one of a closed tab ends late
    await Promise.all(hub.gateways.map((gateway) => gateway.restart("SIGKILL")))
    await publish(100, 120)
    const verdict = await producer.done("all")
    for (const tab of tabs) {
      await tab.evaluate("reading")
      assert.deepEqual(await tab.evaluate("found"), { texts: words(0, 120), verdict })
    }
    // There is no connection any more. Who comes now makes one.
    await tabs[0].evaluate(script())
    await tabs[0].evaluate("reading")
    assert.deepEqual(await tabs[0].evaluate("found"), { texts: words(0, 120), verdict })
  })

  test("a refusal reaches every tab, and a tab whose cursor no other knows reads alone", async ({ signal }) => {
    const hub = await cluster(onTestFinished)
    const browser = await chromium(onTestFinished)
    const context = await browser.newContext()
    const [one, two] = await Promise.all([open(context, hub.url), open(context, hub.url)])
    for (const tab of [one, two]) await tab.evaluate(script({ wait: 1000 }))
    for (const tab of [one, two]) {
      await tab.evaluate("reading")
      assert.equal(await tab.evaluate("found.code"), "not_found")
    }
    const producer = await produceLive(`${hub.url}/v1/live/answer`, { signal })
    for (const word of words(0, 10)) await producer.publish(word)
    await producer.flush()
    const { cursor } = await (await hub.ask("/v1/live/answer/status")).json()
    await one.evaluate(script({ cursor }))
    await two.evaluate(script())
    await has(two, 10)
    await producer.publish("word 10")
    const verdict = await producer.done()
    for (const [tab, from] of [[one, 10], [two, 0]]) {
      await tab.evaluate("reading")
      assert.deepEqual(await tab.evaluate("found"), { texts: words(from, 11), verdict })
    }
  })

  test("a tab that goes hands the connection over, and comes back without gap or duplicate", async ({ signal }) => {
    const hub = await cluster(onTestFinished)
    const browser = await chromium(onTestFinished)
    const context = await browser.newContext()
    const producer = await produceLive(`${hub.url}/v1/live/answer`, { signal })
    const tabs = await Promise.all([open(context, hub.url), open(context, hub.url)])
    for (const tab of tabs) {
      await tab.evaluate(script()) // the first one has the connection
      await producer.publish(tab === tabs[0] ? "word 0" : "word 1")
      await has(tab, tab === tabs[0] ? 1 : 2)
    }
    await tabs[0].evaluate("document.dispatchEvent(new Event('freeze'))")
    await producer.publish("word 2")
    await has(tabs[1], 3)
    assert.equal(await tabs[0].evaluate("found.texts.length"), 2)
    await tabs[0].evaluate("document.dispatchEvent(new Event('resume'))")
    await has(tabs[0], 3)
    const verdict = await producer.done()
    for (const tab of tabs) {
      await tab.evaluate("reading")
      assert.deepEqual(await tab.evaluate("found"), { texts: words(0, 3), verdict })
    }
  })
})
