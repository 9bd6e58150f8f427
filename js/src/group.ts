import { LiveError, type Verdict } from "./error.js"
import { readEvents } from "./events.js"
import { bytesOf, connect, type Chunk, type Hears, type ReadOptions } from "./read.js"
import { Backoff, either, eventStream, split } from "./request.js"

/** How long streams are gathered that a page begins to read together, in milliseconds. */
const gathering = 20
/** The most event streams of one space. A browser has six connections to an origin. */
const mostConnections = 2
/** The most streams of one event stream. */
const mostIDs = 100

interface Member {
  readonly id: string
  readonly options: ReadOptions
  readonly hears: Hears
  readonly ready: Chunk[]
  on: Connection | undefined // that it is served by
  generation: number
  sequence: number // of its last chunk
  ended: { verdict?: Verdict; error?: unknown } | undefined
  alone: boolean
  wake: () => void
}

interface Connection {
  readonly over: AbortController
}

interface Update {
  id: string
  generation: number
  sequence?: number
  data?: string
  binary?: string
  verdict?: Verdict
  code?: string
  message?: string
}

const spaces = new Map<string, Space>()

/** Reads a stream over an event stream of several. */
export async function* group(url: string, options: ReadOptions, hears: Hears): AsyncGenerator<Chunk, Verdict> {
  const [path, query] = split(url)
  const at = path.lastIndexOf("/")
  const key = `${path.slice(0, at)}?${query}`
  const space = spaces.get(key) ?? new Space(key)
  spaces.set(key, space)
  const id = decodeURIComponent(path.slice(at + 1))
  const member: Member = { id, options, hears, ready: [], on: undefined, generation: 0, sequence: 0, ended: undefined, alone: false, wake: () => {} }
  const { signal } = options
  const abort = () => {
    member.ended ??= { error: signal?.reason }
    member.wake()
  }
  signal?.addEventListener("abort", abort)
  try {
    signal?.throwIfAborted()
    space.join(member)
    for (;;) {
      const chunk = member.ready.shift()
      if (chunk) yield chunk
      else if (member.ended?.verdict) return member.ended.verdict
      else if (member.ended) throw member.ended.error
      else if (member.alone) return yield* connect(url, options, "", hears)
      else await new Promise<void>((resolve) => (member.wake = resolve))
    }
  } finally {
    signal?.removeEventListener("abort", abort)
    space.leave(member)
  }
}

/** The streams of one space that a page reads. */
class Space {
  readonly #members = new Set<Member>()
  readonly #connections = new Set<Connection>()
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(readonly key: string) {}

  join(member: Member): void {
    this.#members.add(member)
    this.#timer ??= setTimeout(() => this.#begin(), gathering)
  }

  leave(member: Member): void {
    this.#members.delete(member)
    if (member.on && !this.#of(member.on).length) member.on.over.abort()
    if (this.#members.size === 0) spaces.delete(this.key)
  }

  /** The members that a connection serves. */
  #of(connection: Connection | undefined): Member[] {
    return [...this.#members].filter((member) => member.on === connection && !member.ended && !member.alone)
  }

  /**
   * Connects for those that have no connection. An event stream cannot take in another stream, so the
   * smaller of those that there are ends for it: its streams come again from their start, and what they
   * have is passed over.
   */
  #begin(): void {
    this.#timer = undefined
    const fresh = this.#of(undefined)
    if (this.#connections.size >= mostConnections) {
      const [least] = [...this.#connections].sort((a, b) => this.#of(a).length - this.#of(b).length)
      if (least) {
        fresh.push(...this.#of(least))
        this.#connections.delete(least)
        least.over.abort()
      }
    }
    const ids = [...new Set(fresh.map((member) => member.id))]
    for (let at = 0; at < ids.length; at += mostIDs) {
      const some = new Set(ids.slice(at, at + mostIDs))
      const connection = { over: new AbortController() }
      for (const member of fresh) if (some.has(member.id)) member.on = connection
      this.#connections.add(connection)
      void this.#read(connection).finally(() => this.#connections.delete(connection))
    }
  }

  async #read(connection: Connection): Promise<void> {
    const { signal } = connection.over
    const [first] = this.#of(connection)
    if (!first) return
    const { signal: _, ...options } = first.options
    const backoff = new Backoff(options)
    for (let cursor = ""; ; ) {
      const members = this.#of(connection)
      if (signal.aborted || members.length === 0) return
      let least = 0
      let failure: unknown
      const one = new AbortController() // of a connection that has ended, so that its body is let go
      try {
        const ids = [...new Set(members.map(({ id }) => `id=${encodeURIComponent(id)}`))]
        const [path, query] = split(this.key)
        const address = `${path}?${[...ids, query, cursor && `cursor=${encodeURIComponent(cursor)}`].filter(Boolean).join("&")}`
        const body = await eventStream(address, options, either(signal, one.signal))
        backoff.met = true
        for (const { hears } of members) hears.state("waiting")
        for await (const e of readEvents(body, options, (ms) => (least = ms))) {
          backoff.reset()
          const update = JSON.parse(e.data) as Update
          if (e.name === "complete") throw new LiveError("not_found", "the stream did not begin")
          if (e.name === "error") throw new LiveError(String(update.code), String(update.message))
          cursor = e.id
          for (const member of this.#of(connection)) if (member.id === update.id) take(member, update)
        }
        failure = new Error("the connection ended")
      } catch (error) {
        if (signal.aborted) return
        failure = error
        if (backoff.final(error)) {
          // One of them may be the reason for all: who has nothing yet finds out alone.
          for (const member of this.#of(connection)) {
            if (member.generation === 0) member.alone = true
            else member.ended = { error }
            member.wake()
          }
          return
        }
      } finally {
        one.abort()
      }
      for (const { hears } of this.#of(connection)) hears.state("connecting")
      try {
        await backoff.wait(signal, failure, least)
      } catch {
        return
      }
      for (const { hears } of this.#of(connection)) hears.resumed()
    }
  }
}

/** Gives a member what is new to it. */
function take(member: Member, u: Update): void {
  if (u.generation < member.generation) return
  if (member.generation !== 0 && u.generation > member.generation) {
    member.ended = { verdict: { kind: "superseded", output: { generation: u.generation } } }
  } else if (u.verdict) {
    member.ended = { verdict: u.verdict }
  } else if (u.code !== undefined) {
    member.ended = { error: new LiveError(u.code, String(u.message)) }
  } else {
    member.generation = u.generation
    if (Number(u.sequence) <= member.sequence) return
    member.sequence = Number(u.sequence)
    const bytes = u.binary === undefined ? new TextEncoder().encode(u.data) : bytesOf(u.binary)
    member.ready.push({ text: u.data, bytes, cursor: "", generation: u.generation })
  }
  member.wake()
}
