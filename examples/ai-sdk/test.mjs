// The transport of the AI SDK against two servers at two gateways.
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import readline from "node:readline"
import test from "node:test"
import { DefaultChatTransport } from "ai"
import { twoGateways } from "../../js/test/world.mjs"

async function server(t, gateway) {
  const child = spawn(process.execPath, ["server.mjs"], {
    env: { ...process.env, STREAMHUB_SERVER: gateway, PORT: "0", PAUSE: "5" },
    stdio: ["ignore", "pipe", "inherit"],
  })
  t.after(async () => {
    child.kill()
    await once(child, "exit")
  })
  const [line] = await once(readline.createInterface({ input: child.stdout }), "line")
  return new DefaultChatTransport({ api: `${/http:\S+\d/.exec(line)[0]}/api/chat` })
}

async function textOf(stream, enough = Infinity) {
  const found = { text: "", last: "" }
  for await (const part of stream) {
    if (part.type === "text-delta") found.text += part.delta
    found.last = part.type
    if (found.text.length > enough) break // the connection is cut
  }
  return found
}

const messages = [{ id: "1", role: "user", parts: [{ type: "text", text: "hello" }] }]
const send = (server, chatId) => server.sendMessages({ trigger: "submit-message", chatId, messages, abortSignal: undefined })

test("an answer is resumed and stopped at any server", async (t) => {
  const gateways = await twoGateways((end) => t.after(end))
  const [one, two] = await Promise.all(gateways.map((gateway) => server(t, gateway)))
  assert.equal(await two.reconnectToStream({ chatId: "a b/c" }), null)

  const cut = await textOf(await send(one, "a b/c"), 100)
  const [whole, again] = await Promise.all([two, one].map(async (server) => textOf(await server.reconnectToStream({ chatId: "a b/c" }))))
  assert.equal(whole.last, "finish")
  assert.ok(whole.text.startsWith(cut.text) && whole.text.length > 1000, whole.text)
  assert.deepEqual(again, whole)
  assert.equal(await two.reconnectToStream({ chatId: "a b/c" }), null)

  const first = textOf(await send(one, "a b/c")) // another answer of the chat
  const second = textOf(await two.reconnectToStream({ chatId: "a b/c" }))
  const stop = async (id) => (await fetch(`${two.api}/${encodeURIComponent(id)}/stop`, { method: "POST" })).status
  assert.equal(await stop("a b/c"), 204)
  const stopped = await Promise.all([first, second])
  for (const { text, last } of stopped) {
    assert.ok(whole.text.startsWith(text) && text.length < whole.text.length, text)
    assert.equal(last, "abort")
  }
  assert.equal(await one.reconnectToStream({ chatId: "a b/c" }), null)
  assert.deepEqual([await stop("a b/c"), await stop("none")], [204, 404])
})

test("the transport reads straight at the gateways", async (t) => {
  const gateways = await twoGateways((end) => t.after(end))
  const at = (gateway) => new DefaultChatTransport({
    prepareReconnectToStreamRequest: ({ id }) => ({ api: `${gateway}/v1/live/${encodeURIComponent(id)}?raw=1` }),
  })
  for (const [n, here] of gateways.entries()) {
    const [chatId, there] = [`chat ${n}`, gateways[1 - n]]
    const address = `${here}/v1/live/${encodeURIComponent(chatId)}`
    const call = async (method, path, body, producer) => {
      const headers = { "Content-Type": path.startsWith("/chunks") ? "application/x-ndjson" : "application/json", ...(producer && { "Streamhub-Producer": producer }) }
      const response = await fetch(address + path, { method, body, headers })
      assert.ok(response.ok, `${path}: ${response.status}`)
      return response.json()
    }
    assert.equal(await at(there).reconnectToStream({ chatId }), null)
    const { producer } = await call("PUT", "", "{}")
    let next = 1
    const say = async (...parts) => {
      const lines = parts.map((part) => JSON.stringify(part) + "\n").join("")
      next = (await call("POST", `/chunks?first=${next}`, lines, producer)).next
    }
    await say({ type: "start" }, { type: "text-start", id: "1" }, { type: "text-delta", id: "1", delta: "Hello" })
    const cut = await textOf(await at(here).reconnectToStream({ chatId }), 4)
    assert.equal(cut.text, "Hello")
    const refreshed = [here, there].map(async (gateway) => textOf(await at(gateway).reconnectToStream({ chatId })))
    await say({ type: "text-delta", id: "1", delta: ", world" })
    const heard = call("GET", "/messages?wait=30s", undefined, producer)
    assert.equal((await fetch(`${there}/v1/live/${encodeURIComponent(chatId)}/cancel?wait=0`, { method: "POST", body: "{}" })).status, 202)
    assert.ok((await heard).stop)
    await say({ type: "abort" })
    await call("POST", "/end", '{"kind":"cancelled"}', producer)
    assert.deepEqual(await Promise.all(refreshed), Array(2).fill({ text: "Hello, world", last: "abort" }))
    assert.deepEqual(await textOf(await at(there).reconnectToStream({ chatId })), { text: "Hello, world", last: "abort" })
  }
})
