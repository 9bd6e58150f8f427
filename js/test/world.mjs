// A gateway with an embedded Redis, and a proxy before it that fails on command.
import { spawn } from "node:child_process"
import http from "node:http"
import { once } from "node:events"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import readline from "node:readline"

const program = process.env.STREAMHUB ?? new URL("../../bin/streamhub", import.meta.url).pathname

/** Starts a gateway; after, such as onTestFinished, ends it. */
export async function gateway(after, ...flags) {
  const child = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", ...flags], {
    stdio: ["ignore", "pipe", "ignore"],
  })
  after(() => end(child))
  for await (const line of readline.createInterface({ input: child.stdout })) {
    const found = /^listening (http:\S+)/.exec(line)
    if (found) return found[1]
  }
  throw new Error(`${program} serve did not start`)
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
  const dir = await mkdtemp(join(tmpdir(), "streamhub-js-"))
  after(() => rm(dir, { recursive: true, force: true }))
  const redis = await redisServer(after, dir)
  return [await gateway(after, "--redis", redis), await gateway(after, "--redis", redis)]
}

/** Starts a redis-server with an append-only file in dir. */
export async function redisServer(after, dir, port = 0) {
  const socket = join(dir, "redis.sock")
  const child = spawn(process.env.STREAMHUB_REDIS_SERVER ?? "redis-server", [
    ...["--port", String(port), "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "yes"],
  ], { stdio: ["ignore", "pipe", "ignore"] })
  after(() => end(child))
  for await (const line of readline.createInterface({ input: child.stdout })) {
    if (line.includes("eady to accept connections")) return `unix://${socket}`
  }
  throw new Error("redis-server did not start")
}

async function end(child, signal = "SIGKILL") {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  await once(child, "exit")
}

/**
 * Starts a proxy to a gateway. fault(n) says what becomes of the n-th request: "" passes it, a number
 * answers with that status and no body, "drop" cuts it after the gateway took it, before the answer,
 * and {after: bytes} cuts the answer in its middle.
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
      const { "content-encoding": _, "transfer-encoding": __, ...rest } = Object.fromEntries(answer.headers)
      outgoing.writeHead(answer.status, rest)
      let left = what?.after ?? Infinity
      for await (const part of answer.body ?? []) {
        if (part.length >= left) {
          outgoing.write(part.subarray(0, left))
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
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${server.address().port}`
}
