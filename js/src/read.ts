import { LiveError, type Verdict } from "./error.js"
import { readEvents } from "./events.js"
import { group } from "./group.js"
import { Backoff, either, eventStream, split, type RequestOptions } from "./request.js"
import { canShare, share } from "./share.js"

/** What one call of publish stored. */
export interface Chunk {
  /** The text, or undefined where the bytes are no UTF-8. */
  text: string | undefined
  bytes: Uint8Array
  /** Resumes after this chunk, anywhere; empty for a reader with group. */
  cursor: string
  /** The number of the generation that it is of. */
  generation: number
}

/** connecting: no connection yet, or again. waiting: connected, nothing came yet. reading. ended. */
export type ReadState = "connecting" | "waiting" | "reading" | "ended"

export interface ReadOptions extends RequestOptions {
  /** Resumes after the chunk that had this cursor; the start by default. */
  cursor?: string
  /** How long to wait for a stream that has not begun, in milliseconds, up to 5 minutes; for ever by default. */
  wait?: number
  /**
   * Shares one connection among all tabs of the origin that read this url. One of them reads, and the
   * others hear it; when it is closed, another one goes on. It needs Web Locks and BroadcastChannel;
   * without them, or when the tab that reads does not answer, each has a connection of its own. All tabs
   * see what one of them may read.
   */
  share?: boolean
  /**
   * Shares one connection among the streams of a space that this page reads, so that many of them fit into
   * the six connections of HTTP/1.1. Their chunks have no cursor. token, ticket, fetch and onRetry are those of
   * whichever reader was first. It counts where neither cursor nor share is set.
   */
  group?: boolean
  /** Hears how the reader does. */
  onState?: (state: ReadState) => void
}

/** A live stream as an async iterable over its chunks. It is read once. */
export interface LiveReader extends AsyncIterable<Chunk> {
  /** The cursor after the last chunk that was given. */
  readonly cursor: string
  /**
   * The generation that is read, which a stop and a message should name; undefined until the cursor or a chunk has said
   * it.
   */
  readonly generation: number | undefined
  readonly state: ReadState
  /** How often a connection was made again. */
  readonly resumes: number
  /** The verdict, once the iteration has ended by itself. */
  readonly verdict: Verdict | undefined
}

/**
 * Reads a live stream: every chunk once, in order, until its verdict, over as many connections as it
 * takes. url is that of the stream at any gateway, such as "/v1/live/answer-17".
 *
 * It reads one generation: that of the cursor, or else the one in force. After the verdict "superseded" another readLive
 * begins with the one in force by then; of several takeovers it leaves out those between. GET /v1/live?id=…&generations=1
 * gives all of them.
 *
 * The iteration throws a LiveError for what asking again does not cure, and the reason of the signal.
 */
export function readLive(url: string | URL, options: ReadOptions = {}): LiveReader {
  return new Reader(String(url), options)
}

class Reader implements LiveReader {
  cursor: string
  generation: number | undefined
  state: ReadState = "connecting"
  resumes = 0
  verdict: Verdict | undefined
  #begun = false

  constructor(
    readonly url: string,
    readonly options: ReadOptions,
  ) {
    this.cursor = options.cursor ?? ""
    this.generation = generationOf(this.cursor) || undefined
  }

  #enter(state: ReadState): void {
    if (this.state === state) return
    this.state = state
    this.options.onState?.(state)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk> {
    if (this.#begun) throw new Error("a live stream is read once")
    this.#begun = true
    const { options, url } = this
    const hears: Hears = { state: (state) => this.#enter(state), resumed: () => void this.resumes++ }
    const chunks =
      options.share && canShare()
        ? share(url, options, this.cursor, hears)
        : options.group && !this.cursor
          ? group(url, options, hears)
          : connect(url, options, this.cursor, hears)
    try {
      for (;;) {
        const { done, value } = await chunks.next()
        if (done) {
          this.verdict = value
          return
        }
        this.#enter("reading")
        this.cursor = value.cursor
        this.generation = value.generation
        yield value
      }
    } finally {
      await chunks.return(undefined as never) // also where the caller leaves the loop
      this.#enter("ended")
    }
  }
}

/** What a reader hears of its connections. */
export interface Hears {
  state(state: ReadState): void
  resumed(): void
}

function addressOf(url: string, options: ReadOptions, cursor: string): string {
  const [path, query] = split(url)
  const values = new URLSearchParams(query)
  if (cursor) values.set("cursor", cursor)
  else if (options.wait !== undefined) values.set("wait", `${Math.ceil(options.wait / 1000)}s`)
  values.set("exact", "1")
  return `${path}?${values}`
}

/** Reads over connections of its own, and returns the verdict. */
export async function* connect(url: string, options: ReadOptions, cursor: string, hears: Hears): AsyncGenerator<Chunk, Verdict> {
  const { signal } = options
  const backoff = new Backoff(options)
  for (;;) {
    let least = 0
    let failure: unknown
    const connection = new AbortController()
    try {
      const body = await eventStream(addressOf(url, options, cursor), options, either(connection.signal, signal))
      backoff.met = true
      hears.state("waiting")
      for await (const e of readEvents(body, options, (ms) => (least = ms))) {
        backoff.reset()
        if (e.name === "end") return JSON.parse(e.data) as Verdict
        if (e.name === "error") {
          const { code, message, ...details } = JSON.parse(e.data) as Record<string, unknown>
          throw new LiveError(String(code), String(message), details)
        }
        if (e.name !== "" && e.name !== "message" && e.name !== "binary") continue // no event of ours
        cursor = e.id
        yield chunkOf(e.name, e.data, e.id)
      }
      failure = new Error("the connection ended")
    } catch (error) {
      signal?.throwIfAborted()
      if (backoff.final(error)) throw error
      failure = error
    } finally {
      connection.abort() // also where the caller leaves the loop
    }
    hears.state("connecting")
    await backoff.wait(signal, failure, least)
    hears.resumed()
  }
}

function chunkOf(name: string, data: string, cursor: string): Chunk {
  const generation = generationOf(cursor)
  if (name !== "binary") return { text: data, bytes: new TextEncoder().encode(data), cursor, generation }
  const bytes = bytesOf(data)
  return { text: textOf(bytes), bytes, cursor, generation }
}

/** A cursor begins with the number of its generation, in base 36. */
function generationOf(cursor: string): number {
  return parseInt(cursor, 36)
}

export function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))
}

/** Bytes as text; an event stream cannot carry all of that as it is. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
