/// <reference lib="esnext.disposable" preserve="true" />
import { LiveError, type Verdict } from "./error.js"
import { bytesOf } from "./read.js"
import { request, retried, sleep, withAction, type Init, type RequestOptions } from "./request.js"

export interface ProduceOptions extends RequestOptions {
  /** Kept with the stream. */
  metadata?: unknown
  /** Ends the generation of another producer. */
  takeover?: boolean
  /** Fails with already_produced as long as any generation is kept, also one that has ended. */
  once?: boolean
  /**
   * Goes on with a generation that was begun before, by what state() gave. The gateway is asked first how much is stored. If
   * that is not what the state says, as after a crash, produceLive rejects with gap and changes nothing: details has next,
   * the number of the chunk that the gateway expects, and resume, that of the state.
   */
  resume?: ProducerState
  /**
   * "state", the default, resumes only where the state says. "stored" resumes at the chunk that the gateway expects, whatever
   * the state says: state().next is its number, counted from 1, and the program publishes from there on.
   */
  resumeAt?: "state" | "stored"
  /** Hears that somebody asked to stop. The producer then has a few seconds to end the stream. */
  onStop?: (by: string, reason: string) => void
  /** Hears what readers send. */
  onMessage?: (data: Uint8Array, by: string) => void
}

/** All that a producer needs to go on in another process. The token is a secret. */
export interface ProducerState {
  producer: string
  next: number
  heartbeat_ms: number
}

export interface LiveProducer {
  /**
   * Publishes a chunk. It returns at once unless much is waiting to be stored; then it waits. It rejects
   * when the generation is over for this producer.
   */
  publish(chunk: string | Uint8Array): Promise<void>
  /** Waits until everything that was published is stored. */
  flush(): Promise<void>
  /** Ends the stream as done, after everything that was published, and returns its verdict. */
  done(output?: unknown): Promise<Verdict>
  /** Ends the stream as failed. */
  fail(reason: string): Promise<Verdict>
  /** Ends the stream as cancelled: what a producer does that was asked to stop. */
  cancelled(reason?: string): Promise<Verdict>
  /**
   * Ends the stream as failed unless it has ended, as fail does, and never rejects. After it the producer sends nothing
   * more. A program that may throw between publish and done calls it in finally, or declares the producer with await using.
   */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
  /**
   * Is aborted when a reader asks to stop (a LiveError stopped, with by and reason), and when the generation is over for this
   * producer: ended, closed or fenced.
   */
  readonly signal: AbortSignal
  /** What another process needs to go on. Stop publishing here, and flush, before it is used. */
  state(): ProducerState
}

/** Refusals of a stream that is not this producer's, or not any more. */
const theirs = ["closed", "fenced", "not_found", "permission_denied", "unauthenticated"]
const header = "Streamhub-Producer"
const mostChunks = 256
const mostBytes = 1 << 20

/**
 * Becomes the producer of a live stream. Chunks are numbered, sent in order and sent again whatever
 * fails on the way; each is stored once. url is that of the stream at any gateway.
 */
export async function produceLive(url: string | URL, options: ProduceOptions = {}): Promise<LiveProducer> {
  const at = String(url)
  let state = options.resume
  if (state) {
    // What is stored of a state that is out of date would count as a repeat, and the new chunks be dropped.
    const next = Number((await retried(withAction(at, "/chunks"), options, options.signal, withToken(state, {}))).next)
    if (next !== state.next && options.resumeAt !== "stored") {
      throw new LiveError("gap", `chunk ${next} is next, not ${state.next}`, { next, resume: state.next })
    }
    state = { ...state, next }
  } else {
    const { metadata, takeover, once } = options
    const body = JSON.stringify({ metadata, takeover, once })
    // The key makes the request safe to repeat.
    const answer = await retried(at, options, options.signal, { method: "PUT", body, headers: { [header]: randomKey() } })
    if (typeof answer.producer !== "string") throw new LiveError("already_produced", "a generation is kept that has ended", answer)
    state = answer as unknown as ProducerState
  }
  return new Producer(at, options, state)
}

/** A request of a producer. */
function withToken({ producer }: ProducerState, init: Init): Init {
  return { method: "POST", ...init, headers: { ...init.headers, [header]: producer } }
}

function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(20)), (b) => b.toString(16).padStart(2, "0")).join("")
}

class Producer implements LiveProducer {
  readonly #ended = new AbortController()
  readonly #asked = new AbortController()
  #listening = false
  readonly #signal = this.#ended.signal
  #next: number // of the first chunk that is not known to be stored
  #pending: Uint8Array[] = []
  #bytes = 0
  #wake: (() => void)[] = []
  #sending = false

  constructor(
    readonly url: string,
    readonly options: ProduceOptions,
    readonly begun: ProducerState,
  ) {
    this.#next = begun.next
    const { signal } = options
    const over = () => this.#stop(signal?.reason)
    signal?.addEventListener("abort", over, { signal: this.#signal })
    if (signal?.aborted) over()
    void this.#beat()
    if (options.onStop || options.onMessage) void this.#listen()
  }

  get signal(): AbortSignal {
    void this.#listen() // it costs a request that stays open
    return this.#asked.signal
  }

  state(): ProducerState {
    return { producer: this.begun.producer, next: this.#next, heartbeat_ms: this.begun.heartbeat_ms }
  }

  async publish(chunk: string | Uint8Array): Promise<void> {
    await this.#until(() => this.#bytes < mostBytes)
    const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk.slice()
    this.#pending.push(bytes)
    this.#bytes += bytes.length + 1
    if (!this.#sending) void this.#send()
  }

  flush(): Promise<void> {
    return this.#until(() => this.#pending.length === 0)
  }

  done(output?: unknown): Promise<Verdict> {
    return this.#end({ kind: "done", output })
  }

  fail(reason: string): Promise<Verdict> {
    return this.#end({ kind: "failed", reason })
  }

  cancelled(reason?: string): Promise<Verdict> {
    return this.#end({ kind: "cancelled", ...(reason !== undefined && { reason }) })
  }

  async close(): Promise<void> {
    // It may be over already. Where no verdict can be written the stream will be lost.
    const reason = "the producer was closed"
    await this.fail(reason).catch(() => {})
    this.#stop(new LiveError("closed", reason))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #end(verdict: Verdict): Promise<Verdict> {
    await this.flush()
    let answer: unknown
    try {
      answer = await this.#ask("/end", { body: JSON.stringify(verdict) })
    } catch (error) {
      // Another request may learn first that the stream has ended.
      answer = error instanceof LiveError && error.code === "closed" && error.details.verdict
      if (!answer) throw error
    }
    const ended = answer as Verdict
    this.#stop(new LiveError("closed", ended.kind, { verdict: ended }))
    return ended
  }

  #ask(action: string, init: Init): Promise<Record<string, unknown>> {
    return retried(withAction(this.url, action), this.options, this.#signal, withToken(this.begun, init), true)
  }

  /** Sends what is pending, one request at a time. */
  async #send(): Promise<void> {
    this.#sending = true
    try {
      while (this.#pending.length > 0) {
        await sleep(0, this.#signal) // what is published together travels together
        const { body, type, count } = pack(this.#pending)
        const answer = await this.#ask(`/chunks?first=${this.#next}`, { body: body as BodyInit, headers: { "Content-Type": type } })
        const stored = Math.min(count, Math.max(0, Number(answer.next) - this.#next))
        for (const chunk of this.#pending.splice(0, stored)) this.#bytes -= chunk.length + 1
        this.#next += stored
        this.#notify()
      }
    } catch (error) {
      this.#stop(error)
      if (error instanceof LiveError && !theirs.includes(error.code)) await this.#abandon(error)
    } finally {
      this.#sending = false
    }
  }

  /** Ends as failed a stream whose next chunk is refused for good: readers would wait until it counts as lost. */
  async #abandon(error: LiveError): Promise<void> {
    const body = JSON.stringify({ kind: "failed", reason: `${error.code}: ${error.message}`.slice(0, 1000) })
    await request(withAction(this.url, "/end"), { ...this.options, signal: undefined }, withToken(this.begun, { body })).catch(() => {})
  }

  /** Says from time to time that the producer is there. */
  async #beat(): Promise<void> {
    try {
      for (;;) {
        await sleep(this.begun.heartbeat_ms, this.#signal)
        if (!this.#sending) await this.#ask("/chunks", {})
      }
    } catch (error) {
      this.#stop(error)
    }
  }

  /** Hears requests to stop and messages. */
  async #listen(): Promise<void> {
    if (this.#listening) return
    this.#listening = true
    let after = 0
    try {
      for (;;) {
        const answer = await this.#ask(`/messages?wait=30s&after=${after}`, { method: "GET" }).catch(async (error: unknown) => {
          // A poll that outlives its token is no reason to stop: chunks and heartbeats find out what is.
          if (!(error instanceof LiveError) || error.code !== "unauthenticated") throw error
          await sleep(this.begun.heartbeat_ms, this.#signal)
          return { after, messages: [], stop: undefined }
        })
        after = Number(answer.after)
        for (const m of answer.messages as { data: string; by?: string }[]) {
          this.options.onMessage?.(bytesOf(m.data), m.by ?? "")
        }
        if (!answer.stop) continue
        const { by = "", reason = "" } = answer.stop as { by?: string; reason?: string }
        this.#asked.abort(new LiveError("stopped", reason, { by, reason }))
        this.options.onStop?.(by, reason)
      }
    } catch (error) {
      this.#stop(error)
    }
  }

  #stop(reason: unknown): void {
    this.#ended.abort(reason) // the first reason counts
    this.#asked.abort(reason)
    this.#notify()
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }

  async #until(holds: () => boolean): Promise<void> {
    for (;;) {
      this.#signal.throwIfAborted()
      if (holds()) return
      await new Promise<void>((resolve) => this.#wake.push(resolve))
    }
  }
}

/** Takes as many of the first chunks as fit into one request: lines of text, or one chunk as it is. */
function pack(pending: Uint8Array[]): { body: Uint8Array; type: string; count: number } {
  const first = pending[0] as Uint8Array
  if (!isLine(first)) return { body: first, type: "application/octet-stream", count: 1 }
  const lines: Uint8Array[] = []
  let size = 0
  for (const chunk of pending) {
    if (!isLine(chunk) || lines.length === mostChunks || (lines.length > 0 && size + chunk.length >= mostBytes)) break
    lines.push(chunk)
    size += chunk.length + 1
  }
  const body = new Uint8Array(size)
  let at = 0
  for (const line of lines) {
    body.set(line, at)
    at += line.length
    body[at++] = 10
  }
  return { body, type: "text/plain", count: lines.length }
}

/** A chunk that a line can carry. An empty one can; as a body it would be a heartbeat. */
function isLine(chunk: Uint8Array): boolean {
  return !chunk.includes(10) && chunk[chunk.length - 1] !== 13
}
