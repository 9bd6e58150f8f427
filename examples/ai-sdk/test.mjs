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
