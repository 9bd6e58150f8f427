// A chat with the AI SDK. The routes of an answer are three: make one, resume it, stop it. Any server takes
// any of them, so start several, at gateways of their own:
//
//   STREAMHUB_SERVER=http://127.0.0.1:8080 PORT=3001 node server.mjs
//   STREAMHUB_SERVER=http://127.0.0.1:8081 PORT=3002 node server.mjs
import { readFile } from "node:fs/promises"
import { createServer } from "node:http"
import { Readable } from "node:stream"
import { convertToModelMessages, createUIMessageStreamResponse, streamText, toUIMessageStream } from "ai"
import { createChatStreams } from "@streamhub/client/ai-sdk"
import { model } from "./model.mjs"

const streams = createChatStreams({
  url: process.env.STREAMHUB_SERVER ?? "http://127.0.0.1:8080",
  space: "chats",
  onError: (error, chat) => console.error(`the answer of ${chat} is not kept: ${error}`),
})

async function answer(request) {
  const { id, messages } = await request.json()
  const stop = new AbortController()
  const result = streamText({ model: model(), messages: await convertToModelMessages(messages), abortSignal: stop.signal })
  // A page that goes away aborts nothing: only the stop button does, at whatever server it is pressed.
  return createUIMessageStreamResponse({
    stream: toUIMessageStream({ stream: result.stream }),
    consumeSseStream: ({ stream }) => streams.keep(id, stream, { onStop: (reason) => stop.abort(new Error(reason)) }),
  })
}

const routes = [
  ["POST", /^\/api\/chat$/, answer],
  ["GET", /^\/api\/chat\/([^/]+)\/stream$/, (_, id) => streams.resume(id)],
  ["POST", /^\/api\/chat\/([^/]+)\/stop$/, (_, id) => streams.stop(id)],
  ["GET", /^\/$/, () => file("index.html", "text/html; charset=utf-8")],
  ["GET", /^\/page.js$/, () => file("page.js", "text/javascript; charset=utf-8")],
]

async function file(name, type) {
  return new Response(await readFile(new URL(name, import.meta.url)), { headers: { "Content-Type": type } })
}

async function handle(incoming) {
  const { pathname } = new URL(incoming.url, "http://server")
  for (const [method, path, route] of routes) {
    const found = path.exec(pathname)
    if (!found || method !== incoming.method) continue
    const body = method === "POST" ? Readable.toWeb(incoming) : null
    return route(new Request(`http://server${incoming.url}`, { method, body, duplex: "half" }), ...found.slice(1).map(decodeURIComponent))
  }
  return new Response("there is nothing here", { status: 404 })
}

const server = createServer(async (incoming, outgoing) => {
  const response = await handle(incoming).catch((error) => {
    console.error(error)
    return new Response("something failed", { status: 500 })
  })
  outgoing.writeHead(response.status, Object.fromEntries(response.headers))
  if (!response.body) return void outgoing.end()
  const body = Readable.fromWeb(response.body)
  body.on("error", () => outgoing.destroy())
  outgoing.on("close", () => body.destroy())
  body.pipe(outgoing)
})
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log(`open http://127.0.0.1:${server.address().port}/`))
