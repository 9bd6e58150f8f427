// The hook, in a page of React in Chromium.
import assert from "node:assert/strict"
import { build } from "esbuild"
import { describe, onTestFinished, test } from "vitest"
import { produceLive } from "../dist/index.js"
import { browserPath, cluster, page } from "./world.mjs"

const program = `
  import { createElement as e, StrictMode, useState } from "react"
  import { createRoot } from "react-dom/client"
  import { useLive } from "./dist/react.js"

  window.chunks = []
  function Answer() {
    const [url, setUrl] = useState()
    const live = useLive(url, { maxPause: 500, onChunk: (chunk) => chunks.push(chunk.text) })
    window.read = (id) => setUrl(id && "/v1/live/" + id)
    window.stop = live.stop
    return e("pre", { id: "view" }, JSON.stringify({ ...live, error: live.error?.code }))
  }
  document.body.append(Object.assign(document.createElement("div"), { id: "root" }))
  createRoot(document.getElementById("root")).render(e(StrictMode, null, e(Answer)))`

describe.skipIf(!browserPath)("in Chromium", () => {
  test("a component shows a stream, another one, and its end", async ({ signal }) => {
    const { outputFiles } = await build({ stdin: { contents: program, resolveDir: "." }, bundle: true, write: false, format: "iife", define: { "process.env.NODE_ENV": '"development"' } })
    const hub = await cluster(onTestFinished)
    const tab = await page(onTestFinished, hub.url)
    await tab.addScriptTag({ content: outputFiles[0].text })
    const shows = (want) =>
      tab.waitForFunction((want) => {
        const view = JSON.parse(document.getElementById("view")?.textContent ?? "{}")
        return Object.entries(want).every(([name, value]) => JSON.stringify(view[name]) === JSON.stringify(value))
      }, want, { polling: 20 })
    await shows({ state: "idle", text: "" })

    const stopped = new AbortController()
    const first = await produceLive(`${hub.url}/v1/live/one`, { maxPause: 500, signal, onStop: (by, reason) => stopped.abort(reason) })
    await tab.evaluate('read("one")')
    for (const word of ["a ", "b "]) await first.publish(word)
    await shows({ text: "a b ", state: "reading" })
    await Promise.all(hub.gateways.map((gateway) => gateway.restart("SIGKILL")))
    await first.publish("c ")
    await shows({ text: "a b c ", state: "reading" })
    assert.deepEqual(await tab.evaluate("chunks"), ["a ", "b ", "c "]) // StrictMode begins twice, and one of them ends
    const asked = tab.waitForRequest(/\/one\/cancel\?wait=0&generation=\d+$/)
    await tab.evaluate('stop("enough")')
    await asked
    await new Promise((resolve) => (stopped.signal.aborted ? resolve() : stopped.signal.addEventListener("abort", resolve)))
    assert.equal(stopped.signal.reason, "enough")
    await first.cancelled("enough")
    await shows({ state: "ended", verdict: { kind: "cancelled", reason: "enough" } })

    const second = await produceLive(`${hub.url}/v1/live/two`, { signal })
    await tab.evaluate('read("two")')
    await second.publish("other")
    await second.done()
    await shows({ text: "other", state: "ended", verdict: { kind: "done" } })
    await tab.evaluate("read()")
    await shows({ text: "", state: "idle" })
    await tab.evaluate('read("two?cursor=nonsense")')
    await shows({ error: "invalid_cursor", state: "ended" })
  })
})
