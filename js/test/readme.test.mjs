// The code of README.md, each block at a gateway.
import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { transform } from "esbuild"
import { createElement } from "react"
import { renderToString } from "react-dom/server"
import { onTestFinished, test } from "vitest"
import * as agUI from "../dist/ag-ui.js"
import * as main from "../dist/index.js"
import * as react from "../dist/react.js"
import * as resumableStream from "../dist/resumable-stream.js"
import { gateway, streamhub } from "./world.mjs"

const packed = { "": main, "/ag-ui": agUI, "/react": react, "/resumable-stream": resumableStream }
const readme = await readFile(new URL("../README.md", import.meta.url), "utf8")
const blocks = [...readme.matchAll(/^```jsx? js\/test\/readme\.test\.mjs\n(.*?)^```$/gms)].map(([, code]) => code)

/** Runs a block with some names, and returns the value of result. */
async function run(code, hub, names, result = "undefined") {
  const imports = /^import \{ (.*) \} from "@streamhub\/client(.*)"$/m
  const [, exported, path] = imports.exec(code)
  const body = code
    .replace(imports, `const { ${exported} } = packed`)
    .replaceAll("http://hub:8080", hub)
    .replaceAll('"/v1/live/', `"${hub}/v1/live/`)
  const { code: plain } = await transform(`async function block(${Object.keys(names)}) {\n${body}\nreturn ${result}\n}`, { loader: "jsx", jsxFactory: "h", target: "es2022" })
  return new Function("packed", "h", `${plain}; return block`)(packed[path], createElement)(...Object.values(names))
}

const block = (name) => {
  const found = blocks.filter((code) => code.includes(`import { ${name}`))
  assert.equal(found.length, 1, name)
  return found[0]
}

test("there is a test for each block", () => assert.equal(blocks.length, 6))

test("produceLive and readLive", async () => {
  const hub = await gateway(onTestFinished)
  const model = { count: 2, abort: () => {}, async *answer(question) { yield* [question, "two"] } }
  await run(block("produceLive"), hub, { model, question: "forty" })
  const shown = []
  let verdict
  await run(block("readLive"), hub, { show: (text) => shown.push(text), finish: (v) => (verdict = v) })
  assert.deepEqual(shown, ["forty", "two"])
  assert.deepEqual(verdict, { kind: "done", output: { tokens: 2 } })
})

test("a model that throws", async () => {
  const hub = await gateway(onTestFinished)
  const model = { async *answer(question) { yield question; throw new Error("no luck") } }
  await run(block("produceLive"), hub, { model, question: "forty" })
  let verdict
  await run(block("readLive"), hub, { show: () => {}, finish: (v) => (verdict = v) })
  assert.deepEqual(verdict, { kind: "failed", reason: "Error: no luck" })
})

test("cancelLive and sendMessage", async () => {
  const url = `${await gateway(onTestFinished)}/v1/live/answer`
  const producer = await main.produceLive(url)
  await producer.publish("word")
  const answer = main.readLive(url)
  await answer[Symbol.asyncIterator]().next()
  await run(block("cancelLive"), "", { url, answer, token: undefined })
  await new Promise((resolve) => producer.signal.addEventListener("abort", resolve))
  assert.equal(producer.signal.reason.details.reason, "stopped by the user")
  await producer.close()
})

test("useLive", async () => {
  const Answer = await run(block("useLive"), "http://127.0.0.1:1", {}, "Answer")
  assert.equal(renderToString(createElement(Answer, { id: "answer-17" })), "<p> <button>Stop</button></p>")
})

test("createResumableStreamContext", async () => {
  const hub = await gateway(onTestFinished)
  const streams = await run(block("createResumableStreamContext"), hub, { after: (promise) => void promise }, "streams")
  assert.equal(await streams.hasExistingStream("nothing"), null)
})

test("publishRun and runResponse", async () => {
  const hub = await gateway(onTestFinished)
  const events = [{ type: "RUN_STARTED", threadId: "t", runId: "r" }, { type: "RUN_FINISHED", threadId: "t", runId: "r" }]
  const response = await run(block("publishRun"), hub, { hub, runId: "run-1", events, agent: { abort: () => {} } })
  assert.equal((await response.text()).match(/RUN_FINISHED/g).length, 1)
  assert.match(await streamhub("live", "read", "run-1", "--server", hub), /RUN_STARTED/)
})
