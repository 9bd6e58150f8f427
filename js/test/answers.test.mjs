// Answers that a reader or a producer may get of what stands between it and a gateway.
import assert from "node:assert/strict"
import http from "node:http"
import { once } from "node:events"
import { onTestFinished, test } from "vitest"
import { produceLive, readLive } from "../dist/index.js"
import { gateway } from "./world.mjs"

const events = { "Content-Type": "text/event-stream" }
const stream = "id: c1\ndata: hi\n\nevent: end\nid: 1.end\ndata: {\"kind\":\"done\"}\n\n"

/** Starts a server whose first answer is another one than that of a gateway; the others are those of more, if it is given. */
async function answering(first, more) {
  const paths = []
  const server = http.createServer((request, response) => {
    if (paths.push(request.url) === 1) return first(response)
    if (more) return more(response)
    response.writeHead(200, events).end(stream)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${server.address().port}`, paths }
}

const answer = (status, body = "", headers = {}) => (response) => response.writeHead(status, headers).end(body)
const stalled = (status) => (response) => response.writeHead(status).write("x")

test.for([
  ["408", answer(408)], ["421", answer(421)], ["425", answer(425)], ["429", answer(429)], ["500", answer(500)], ["503", answer(503)], ["524", answer(524)],
  ["503 without the end of its body", stalled(503)], ["503, null", answer(503, "null")],
  ["an event of another kind", answer(200, "event: ping\ndata: x\n\n", events)], ["an end that is not whole", answer(200, "event: end\ndata: {\n\n", events)],
])("a reader comes again after %s", async ([, first], { signal }) => {
  const { url, paths } = await answering(first)
  const reader = readLive(`${url}/v1/live/a`, { signal, maxPause: 20, silence: 500 })
  const found = []
  for await (const chunk of reader) found.push(chunk.text)
  assert.deepEqual([found, reader.verdict, paths.length], [["hi"], { kind: "done" }, 2])
})

test.for([
  ["400", answer(400), "http_400"], ["401", answer(401), "http_401"], ["401 without the end of its body", stalled(401), "http_401"], ["403, null", answer(403, "null"), "http_403"],
  ["404 of another server", answer(404, "404 page not found\n", { "Content-Type": "text/plain" }), "not_a_gateway"], ["404 without a body", answer(404), "not_a_gateway"],
  ["404, with a number", answer(404, `{"code":5}`), "not_a_gateway"], ["404, with another code", answer(404, `{"code":"NoRoute"}`), "not_a_gateway"],
  ["a page", answer(200, "<html>", { "Content-Type": "text/html" }), "not_a_gateway"], ["an answer without a type", answer(200, stream), "not_a_gateway"],
  ["404", answer(404, `{"code":"not_found","message":"no such stream"}`), "not_found"], ["410", answer(410, `{"code":"history_lost"}`), "history_lost"],
  ["507", answer(507, `{"code":"quota"}`), "quota"],
])("a reader ends with %s", async ([, first, code], { signal }) => {
  const { url, paths } = await answering(first)
  await assert.rejects(async () => {
    for await (const chunk of readLive(`${url}/v1/live/a`, { signal, maxPause: 20, silence: 500 })) assert.fail(chunk.text)
  }, { code })
  assert.equal(paths.length, 1)
})

test.for([["seconds", () => "1"], ["a date", () => new Date(Date.now() + 2000).toUTCString()]])("a reader waits as Retry-After says in %s", async ([, after], { signal }) => {
  const { url } = await answering(answer(503, "", { "Retry-After": after() }))
  const begun = performance.now()
  for await (const _ of readLive(`${url}/v1/live/a`, { signal, maxPause: 1 }));
  assert.ok(performance.now() - begun > 900)
})

test("a line of 24 MiB in small parts takes linear time", async ({ signal }) => {
  const part = "x".repeat(16 << 10)
  const { url } = await answering(async (response) => {
    response.writeHead(200, events).write("id: c1\ndata: ")
    for (let n = 0; n < 1536; n++) if (!response.write(part)) await once(response, "drain")
    response.end("\n\nevent: end\nid: 1.end\ndata: {\"kind\":\"done\"}\n\n")
  })
  for await (const { text } of readLive(`${url}/v1/live/a`, { signal, maxPause: 20 })) assert.equal(text.length, 24 << 20)
})

test("line ends of every kind, in parts of a byte", async ({ signal }) => {
  const { url } = await answering(async (response) => {
    response.writeHead(200, events)
    const text = "\ufeffid: c1\r\ndata: ü\r\ndata: €\r\n\r\nid: c2\rdata: 😀\r\rid: c3\ndata: \n\nevent: end\rdata: {\"kind\":\"done\"}\r\r"
    for (const byte of Buffer.from(text)) await new Promise((resolve) => response.write(Buffer.of(byte), resolve))
    response.end()
  })
  const found = []
  for await (const { text, cursor } of readLive(`${url}/v1/live/a`, { signal })) found.push([text, cursor])
  assert.deepEqual(found, [["ü\n€", "c1"], ["😀", "c2"], ["", "c3"]])
})

test("a query with a question mark, and a fragment", async ({ signal }) => {
  const { url, paths } = await answering(answer(200, stream, events))
  for await (const _ of readLive(`${url}/v1/live/a?space=a?b&x=1#part`, { signal }));
  assert.equal(paths[0], "/v1/live/a?space=a%3Fb&x=1&exact=1")
})

test("a chunk that no gateway takes ends the stream as failed", async ({ signal }) => {
  const hub = await gateway(onTestFinished)
  const producer = await produceLive(`${hub}/v1/live/large`, { signal })
  await producer.publish("word")
  await producer.publish("x".repeat(5 << 20))
  await assert.rejects(producer.flush(), { code: "too_large" })
  const reader = readLive(`${hub}/v1/live/large`, { signal })
  const found = []
  for await (const { text } of reader) found.push(text)
  assert.deepEqual([found, reader.verdict.kind], [["word"], "failed"])
  assert.match(reader.verdict.reason, /^too_large: /)
})

test.for([["a page", 200, "text/html"], ["404", 404, "text/plain"]])("where a gateway has answered, %s of a proxy passes, and onRetry hears of it", async ([, status, type], { signal }) => {
  const answers = [answer(200, "id: c1\ndata: one\n\n", events), answer(status, "away", { "Content-Type": type }), answer(503), answer(200, "id: c2\ndata: two\n\nevent: end\ndata: {\"kind\":\"done\"}\n\n", events)]
  const next = (response) => answers.shift()(response)
  const { url } = await answering(next, next)
  const failed = []
  const found = []
  const onRetry = (error, attempt) => failed.push([error.code ?? error.message.trim(), attempt])
  for await (const { text } of readLive(`${url}/v1/live/a`, { signal, maxPause: 1, onRetry })) found.push(text)
  assert.deepEqual(found, ["one", "two"])
  assert.deepEqual(failed, [["the connection ended", 1], ["not_a_gateway", 2], ["503", 3]])
})

test("a producer refuses an address that is no gateway's", async ({ signal }) => {
  const { url } = await answering(answer(200, "<html>", { "Content-Type": "text/html" }))
  await assert.rejects(produceLive(`${url}/v1/live/a`, { signal }), { code: "not_a_gateway" })
  const { url: other } = await answering(answer(404, "404 page not found\n", { "Content-Type": "text/plain" }))
  await assert.rejects(produceLive(`${other}/v1/live/a`, { signal }), { code: "not_a_gateway" })
})

test("after a 401 the token is asked for once more", async ({ signal }) => {
  const { url, paths } = await answering(answer(401))
  const asked = []
  for await (const _ of readLive(`${url}/v1/live/a`, { signal, token: ({ refused }) => asked.push(refused) && `token ${asked.length}` }));
  assert.deepEqual([asked, paths.length], [[false, true], 2])

  const same = await answering(answer(401), answer(401))
  await assert.rejects(async () => {
    for await (const _ of readLive(`${same.url}/v1/live/a`, { signal, token: () => "the same" }));
  }, { code: "http_401" })
  assert.equal(same.paths.length, 1)

  const never = await answering(answer(401), answer(401))
  let n = 0
  await assert.rejects(async () => {
    for await (const _ of readLive(`${never.url}/v1/live/a`, { signal, ticket: () => `ticket ${n++}` }));
  }, { code: "http_401" })
  assert.equal(never.paths.length, 2)
})
