// Streams of a page that share one connection.
import assert from "node:assert/strict"
import { describe, onTestFinished, test } from "vitest"
import { LiveError, produceLive, readLive } from "../dist/index.js"
import { browserPath, cluster, page } from "./world.mjs"

const program = `
  const readers = (window.readers = {})
  window.read = (id) => {
    const found = (readers[id] = { texts: [] })
    import("/streamhub.js").then(async ({ readLive }) => {
      const reader = readLive("/v1/live/" + id, { group: true, maxPause: 1000 })
      for await (const { text } of reader) found.texts.push(text)
      found.verdict = reader.verdict
    }).catch((error) => (found.failed = String(error)))
  }
  window.stop = (id) => fetch("/v1/live/" + id + "/cancel?wait=0", { method: "POST" }).then((answer) => answer.status)`

const words = (from, to) => Array.from({ length: to - from }, (_, n) => `word ${from + n}`)

async function texts(reader) {
  const found = []
  for await (const { text, bytes } of reader) found.push(text ?? [...bytes])
  return found
}

describe.skipIf(!browserPath)("in Chromium", () => {
  test("thirty streams and a stop button on one page over HTTP/1.1", async ({ signal }) => {
    const hub = await cluster(onTestFinished)
    const tab = await page(onTestFinished, hub.url)
    await tab.addScriptTag({ content: program })
    const ids = Array.from({ length: 30 }, (_, n) => `answer-${n}`)
    const all = (count, names = ids) =>
      tab.waitForFunction(([names, count]) => names.every((id) => window.readers[id].texts.length >= count), [names, count], { polling: 50 })
    const produce = (id, more) => produceLive(`${hub.url}/v1/live/${id}`, { maxPause: 500, signal, ...more })
    const say = (producers, from, to) =>
      Promise.all(producers.map(async (producer) => {
        for (const word of words(from, to)) await producer.publish(word)
        await producer.flush()
      }))
    await tab.evaluate((ids) => ids.forEach(window.read), ids)
    let asked
    const stopped = new Promise((resolve) => (asked = resolve))
    const producers = await Promise.all(ids.map((id, n) => produce(id, n === 7 ? { onStop: asked } : {})))
    await say(producers, 0, 10)
    await all(10)
    assert.ok(hub.most <= 2, `${hub.most} event streams`)
    await tab.evaluate(() => window.read("late"))
    await tab.evaluate(() => window.read("later"))
    const late = await Promise.all([produce("late"), produce("later")])
    await say(late, 0, 5)
    await all(5, ["late", "later"])
    await tab.evaluate(() => window.read("latest"))
    late.push(await produce("latest"))
    await say(late.slice(2), 0, 5)
    for (const gateway of hub.gateways) {
      await gateway.restart("SIGKILL")
      await say(producers, 10, 11)
    }
    assert.equal(await tab.evaluate(() => window.stop("answer-7")), 202)
    await stopped
    const verdicts = await Promise.all(producers.map((producer, n) => (n === 7 ? producer.cancelled() : producer.done(n))))
    await say(late, 5, 8)
    const others = await Promise.all(late.map((producer) => producer.done()))
    await tab.waitForFunction(() => Object.values(window.readers).every(({ verdict, failed }) => verdict || failed), undefined, { polling: 50 })
    const want = Object.fromEntries(ids.map((id, n) => [id, { texts: [...words(0, 10), "word 10", "word 10"], verdict: verdicts[n] }]))
    ;["late", "later", "latest"].forEach((id, n) => (want[id] = { texts: words(0, 8), verdict: others[n] }))
    assert.deepEqual(await tab.evaluate("readers"), want)
    assert.ok(hub.most <= 3, `${hub.most} event streams`) // one that ends and one that begins may overlap
  })
})

test("streams that fail, go on as another generation, or hold bytes", async ({ signal }) => {
  const hub = await cluster(onTestFinished)
  const url = (id) => `${hub.url}/v1/live/${id}?space=other`
  const read = (id, more) => texts(readLive(url(id), { group: true, maxPause: 500, signal, ...more }))
  const names = ["a/b?c", "bytes", "old", "stopped"]
  const [one, two, three, four] = await Promise.all(names.map((id) => produceLive(url(encodeURIComponent(id)), { maxPause: 500, signal })))
  const leaving = new AbortController()
  const old = readLive(url("old"), { group: true, maxPause: 500, signal })
  const reading = [read("a%2Fb%3Fc"), read("bytes"), texts(old), read("stopped", { signal: leaving.signal })]
  await three.publish("first")
  await four.publish("x")
  await one.publish("text\r\n")
  await two.publish(new Uint8Array([255, 0, 10]))
  await Promise.all([one, two, three, four].map((producer) => producer.flush()))
  await assert.rejects(read("bytes?cursor=nonsense"), (e) => e instanceof LiveError && e.code === "invalid_cursor")
  const next = await produceLive(url("old"), { takeover: true, signal })
  await next.publish("second")
  assert.deepEqual(await reading[2], ["first"])
  assert.equal(old.verdict.kind, "superseded")
  await one.done()
  await two.fail("no more")
  assert.deepEqual(await Promise.all(reading.slice(0, 2)), [["text\r\n"], [[255, 0, 10]]])
  leaving.abort(new Error("enough"))
  await assert.rejects(reading[3], /enough/)
  await next.done()
  while (hub.readers > 0) await new Promise((resolve) => setTimeout(resolve, 20)) // nothing is left open
})
