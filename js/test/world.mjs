// Gateways, with an embedded Redis or one that can be restarted, proxies that fail, and Chromium.
import { execFile, spawn } from "node:child_process"
import http from "node:http"
import { once } from "node:events"
import { createReadStream, existsSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import readline from "node:readline"
import { promisify } from "node:util"
import { chromium as playwright } from "playwright-core"

const program = process.env.STREAMHUB ?? new URL("../../bin/streamhub", import.meta.url).pathname

/** Starts a gateway; after, such as onTestFinished, ends it. */
export async function gateway(after, ...flags) {
  const { url, child } = await serve(...flags)
  after(() => end(child))
  return url
}

async function serve(...flags) {
  const child = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", ...flags], {
    stdio: ["ignore", "pipe", "ignore"],
  })
  for await (const line of readline.createInterface({ input: child.stdout })) {
    const found = /^listening (http:\S+)/.exec(line)
    if (found) return { url: found[1], child }
  }
  throw new Error(`${program} serve did not start`)
}

/** Runs a command, and returns what it writes. */
export async function streamhub(...args) {
  return (await promisify(execFile)(program, args)).stdout
}

/** Collects what ends a world that several tests share; it is for beforeAll. */
export async function shared(open) {
  const ends = []
  await open((end) => ends.unshift(end))
  return async () => {
    for (const end of ends) await end()
  }
}

/** Starts two gateways on one Redis. */
export async function twoGateways(after) {
  const { url } = await redisServer(after)
  return [await gateway(after, "--redis", url), await gateway(after, "--redis", url)]
}

/** Starts a redis-server with an append-only file, which can be restarted. */
async function redisServer(after) {
  const dir = await mkdtemp(join(tmpdir(), "streamhub-js-"))
  const socket = join(dir, "redis.sock")
  let child
  const start = async () => {
    child = spawn(process.env.STREAMHUB_REDIS_SERVER ?? "redis-server", [
      ...["--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "yes"],
    ], { stdio: ["ignore", "pipe", "ignore"] })
    for await (const line of readline.createInterface({ input: child.stdout })) {
      if (line.includes("eady to accept connections")) return
    }
    throw new Error("redis-server did not start")
  }
  after(async () => {
    await end(child)
    await rm(dir, { recursive: true, force: true })
  })
  await start()
  const restart = async () => {
    await end(child, "SIGTERM")
    await start()
  }
  return { url: `unix://${socket}`, restart }
}

/**
 * Starts two gateways, a Redis and a proxy, which sends requests to the gateways in turn and answers
 * 503 in the place of one that is away.
 */
export async function cluster(after) {
  const redis = await redisServer(after)
  const gateways = []
  for (let n = 0; n < 2; n++) {
    const g = { ...(await serve("--redis", redis.url)), up: true }
    g.restart = async (signal) => {
      g.up = false
      await end(g.child, signal)
      Object.assign(g, await serve("--redis", redis.url), { up: true })
    }
    after(() => end(g.child))
    gateways.push(g)
  }
  const hub = { readers: 0, most: 0 } // event streams that are open, and the most there were at once
  let turn = 0
  const server = http.createServer((incoming, outgoing) => {
    if (incoming.url === "/streamhub.js") {
      outgoing.writeHead(200, { "Content-Type": "text/javascript" })
      return void createReadStream(new URL("../dist/streamhub.min.js", import.meta.url)).pipe(outgoing)
    }
    if (incoming.url === "/") return void outgoing.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>test</title>")
    if (incoming.headers.accept === "text/event-stream") {
      hub.readers++
      outgoing.on("close", () => hub.readers--)
      hub.most = Math.max(hub.most, hub.readers)
    }
    const g = gateways[turn++ % gateways.length]
    if (!g.up) return void outgoing.writeHead(503, { "Content-Type": "text/html" }).end("<h1>503 Service Temporarily Unavailable</h1>")
    const { host, origin, connection, ...headers } = incoming.headers
    const to = http.request(g.url + incoming.url, { method: incoming.method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers)
      outgoing.flushHeaders()
      answer.on("data", (part) => outgoing.write(part))
      answer.on("end", () => outgoing.end())
      answer.on("close", () => answer.complete || outgoing.destroy())
    })
    to.on("error", () => (outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end()))
    outgoing.on("close", () => to.destroy())
    incoming.pipe(to)
  })
  const url = await listening(server, after)
  /** Makes a request until a gateway answers it. */
  const ask = async (path, init) => {
    for (;;) {
      const answer = await fetch(url + path, init).catch(() => undefined)
      if (answer && answer.status < 500) return answer
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  return Object.assign(hub, { url, gateways, redis, ask })
}

async function listening(server, after) {
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${server.address().port}`
}

/** Opens a page in Chromium. */
export async function page(after, url) {
  const browser = await chromium(after)
  return open(browser, url)
}

/** The path of a Chromium, undefined where none is on PATH: scripts/need-chromium says what to install. */
export const browserPath = ["chromium", "chromium-browser", "google-chrome", "chrome"]
  .flatMap((name) => (process.env.PATH ?? "").split(delimiter).map((dir) => join(dir, name)))
  .find((path) => existsSync(path))

/** Starts a Chromium. */
export async function chromium(after) {
  const browser = await playwright.launch({ executablePath: browserPath, args: ["--no-sandbox"] })
  after(() => browser.close())
  return browser
}

/** Opens a tab. */
export async function open(browser, url) {
  const tab = await browser.newPage()
  tab.on("pageerror", (error) => console.error("page:", error))
  await tab.goto(url)
  return tab
}

async function end(child, signal = "SIGKILL") {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  await once(child, "exit")
}

/**
 * Starts a proxy to a gateway. fault(n) says what becomes of the n-th request: "" passes it, a number
 * answers with that status and no body, "drop" cuts it after the gateway took it, before the answer,
 * {after: bytes} cuts the answer in its middle, and {after: bytes, hold: true} leaves it open, in silence;
 * "hold" answers nothing.
 */
export async function proxy(after, target, fault) {
  let n = 0
  const server = http.createServer(async (incoming, outgoing) => {
    const what = fault(n++, incoming)
    if (typeof what === "number") return void outgoing.writeHead(what).end()
    const body = []
    for await (const part of incoming) body.push(part)
    const abort = new AbortController()
    outgoing.on("close", () => abort.abort())
    const { host, connection, ...headers } = incoming.headers
    try {
      const answer = await fetch(target + incoming.url, {
        method: incoming.method,
        headers,
        body: body.length > 0 ? Buffer.concat(body) : undefined,
        signal: abort.signal,
      })
      if (what === "drop") return void outgoing.destroy()
      if (what === "hold") return
      const { "content-encoding": _, "transfer-encoding": __, ...rest } = Object.fromEntries(answer.headers)
      outgoing.writeHead(answer.status, rest)
      let left = what?.after ?? Infinity
      for await (const part of answer.body ?? []) {
        if (part.length >= left) {
          outgoing.write(part.subarray(0, left))
          if (what.hold) return
          return void setImmediate(() => outgoing.destroy())
        }
        left -= part.length
        outgoing.write(part)
      }
      outgoing.end()
    } catch {
      outgoing.destroy()
    }
  })
  return listening(server, after)
}
