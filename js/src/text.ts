import { LiveError, type Verdict } from "./error.js"
import { produceLive, type LiveProducer, type ProduceOptions } from "./produce.js"
import { readLive } from "./read.js"
import { retried, sleep, type RequestOptions } from "./request.js"

/** Options of createResumableStreamContext. */
export interface CreateResumableStreamContextOptions extends RequestOptions {
  /**
   * Is given a promise for each stream that is produced here, which resolves when the stream has ended
   * and never rejects: the program must live on until then. null where nothing suspends the program.
   */
  waitUntil: ((promise: Promise<unknown>) => void) | null
  /** The address of a gateway, such as "http://hub:8080"; process.env.STREAMHUB_SERVER by default. */
  url?: string | URL
  /** The space that the streams are in; "live" by default. */
  space?: string
  /** Goes before each stream id; nothing by default, so that a page reads /v1/live/{streamId}. */
  keyPrefix?: string
  /**
   * Has a stream that has ended read like one that goes on, for as long as the gateway keeps it, 5
   * minutes by default. Without it resuming one gives null.
   */
  replayEnded?: boolean
  /** How long to wait for a gateway before a call rejects, in milliseconds; 10,000 by default. */
  timeout?: number
  /** Hears why a stream that is produced here could not be stored. Whoever holds it reads on. */
  onError?: (error: unknown, streamId: string) => void
}

/** The interface of the npm package resumable-stream. Streams are text; skipCharacters counts UTF-16 units. */
export interface ResumableStreamContext {
  /**
   * Creates the stream, or resumes it where it exists. makeStream is called only to create it, and the
   * stream that it gives is read to its end whoever reads along. null for a stream that has ended.
   */
  resumableStream(streamId: string, makeStream: () => ReadableStream<string>, skipCharacters?: number): Promise<ReadableStream<string> | null>
  /** Resumes a stream: null for one that has ended, undefined for one that does not exist. */
  resumeExistingStream(streamId: string, skipCharacters?: number): Promise<ReadableStream<string> | null | undefined>
  /** Creates a stream, in the place of one under that id. Whoever creates it gets all of it: nothing is skipped. */
  createNewResumableStream(streamId: string, makeStream: () => ReadableStream<string>, skipCharacters?: number): Promise<ReadableStream<string> | null>
  /** Says whether there is a stream: null for none, true, or "DONE" for one that has ended. */
  hasExistingStream(streamId: string): Promise<null | true | "DONE">
}

/** Makes a context, for what stands on one. */
export function openContext(options: CreateResumableStreamContextOptions): Context {
  const env = (globalThis as { process?: { env: Record<string, string | undefined> } }).process?.env ?? {}
  const base = String(options.url ?? env.STREAMHUB_SERVER ?? "").replace(/\/+$/, "")
  if (!/^https?:/.test(base)) throw new TypeError("url, or STREAMHUB_SERVER, must be the http address of a gateway")
  const { STREAMHUB_TOKEN } = env
  const asking: RequestOptions = {
    ...(options.fetch && { fetch: options.fetch }),
    ...(options.signal && { signal: options.signal }),
    ...(options.ticket && { ticket: options.ticket }),
    ...(options.maxPause && { maxPause: options.maxPause }),
    ...(options.onRetry && { onRetry: options.onRetry }),
    ...(options.token ? { token: options.token } : !options.ticket && STREAMHUB_TOKEN && { token: () => STREAMHUB_TOKEN }),
  }
  return new Context(base, asking, options)
}

/** Live streams of text at a gateway. */
export class Context implements ResumableStreamContext {
  constructor(
    readonly base: string,
    readonly asking: RequestOptions,
    readonly options: CreateResumableStreamContextOptions,
  ) {}

  #url(streamId: string, action = "", query = ""): string {
    const { keyPrefix, space } = this.options
    const id = encodeURIComponent(keyPrefix ? `${keyPrefix}:${streamId}` : streamId)
    const values = [query, space && `space=${encodeURIComponent(space)}`].filter(Boolean).join("&")
    return `${this.base}/v1/live/${id}${action}${values && `?${values}`}`
  }

  async resumableStream(streamId: string, makeStream: () => ReadableStream<string>, skipCharacters = 0): Promise<ReadableStream<string> | null> {
    try {
      return await this.create(streamId, makeStream, { once: true })
    } catch (error) {
      if (!(error instanceof LiveError) || error.code !== "already_produced") throw error
      return this.#resume(streamId, error.details.verdict, skipCharacters)
    }
  }

  async resumeExistingStream(streamId: string, skipCharacters = 0): Promise<ReadableStream<string> | null | undefined> {
    const status = await this.#status(streamId)
    return status && this.#resume(streamId, status.verdict, skipCharacters)
  }

  createNewResumableStream(streamId: string, makeStream: () => ReadableStream<string>): Promise<ReadableStream<string>> {
    return this.create(streamId, makeStream, { takeover: true })
  }

  async hasExistingStream(streamId: string): Promise<null | true | "DONE"> {
    const status = await this.#status(streamId)
    if (!status) return null
    return status.verdict ? "DONE" : true
  }

  async #status(streamId: string): Promise<{ verdict?: unknown } | undefined> {
    try {
      return await this.#inTime((signal) => retried(this.#url(streamId, "/status"), this.asking, signal, {}))
    } catch (error) {
      if (error instanceof LiveError && error.code === "not_found") return undefined
      throw error
    }
  }

  /** Makes a call that begins something, and gives up when no gateway answers. */
  async #inTime<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { timeout = 10_000 } = this.options
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(new Error(`no gateway answered within ${timeout} ms`)), timeout)
    try {
      return await call(this.asking.signal ? AbortSignal.any([this.asking.signal, late.signal]) : late.signal)
    } finally {
      clearTimeout(timer)
    }
  }

  #resume(streamId: string, verdict: unknown, skip: number): ReadableStream<string> | null {
    if (verdict && !this.options.replayEnded) return null
    return reading(this.#url(streamId), this.asking, skip)
  }

  /** Asks the producer to stop, if it still produces; false for a stream that does not exist. */
  async stop(streamId: string, reason: string): Promise<boolean> {
    const init = { method: "POST", body: JSON.stringify({ reason }), headers: { "Content-Type": "application/json" } }
    try {
      await this.#inTime((signal) => retried(this.#url(streamId, "/cancel", "wait=0"), this.asking, signal, init))
      return true
    } catch (error) {
      if (error instanceof LiveError && error.code === "not_found") return false
      throw error
    }
  }

  /** Creates a stream. It ends as cancelled when somebody asks for that, once the source has ended. */
  async create(streamId: string, makeStream: () => ReadableStream<string>, how: ProduceOptions): Promise<ReadableStream<string>> {
    let stopped: string | undefined
    let stop = () => {}
    const onStop = (by: string, reason: string) => {
      stopped = reason
      stop()
      how.onStop?.(by, reason)
    }
    const producer = await this.#inTime((signal) => produceLive(this.#url(streamId), { ...this.asking, ...how, signal, onStop }))
    const say = (error: unknown) => this.options.onError?.(error, streamId)
    let source: ReadableStreamDefaultReader<string>
    try {
      source = makeStream().getReader()
    } catch (error) {
      await producer.fail(textOf(error)).catch(say)
      throw error
    }
    if (!how.onStop) stop = () => void source.cancel(new Error(`stopped: ${stopped}`)).catch(() => {})
    if (stopped !== undefined) stop()
    let out: ReadableStreamDefaultController<string> | undefined
    const stream = new ReadableStream<string>({
      start: (controller) => void (out = controller),
      cancel: () => void (out = undefined), // the others read on
    })
    const working = pump(source, new Writer(producer, say), {
      give: (text) => out?.enqueue(text),
      ended: (error) => (error === undefined ? out?.close() : out?.error(error)),
      stopped: () => stopped,
    })
    this.options.waitUntil?.(working)
    return stream
  }
}

interface Local {
  give(text: string): void
  ended(error?: unknown): void
  stopped(): string | undefined
}

/** How long the creator's stream stays open after its last text for the verdict to be stored. */
const patience = 1000

/** Reads a source to its end, for whoever created it and for all others. */
async function pump(source: ReadableStreamDefaultReader<string>, writer: Writer, local: Local): Promise<void> {
  let failure: { error: unknown } | undefined
  try {
    for (;;) {
      const { done, value } = await source.read()
      if (done) break
      local.give(value)
      await writer.write(value)
    }
  } catch (error) {
    failure = { error }
  }
  const stopped = local.stopped()
  const ending = failure ? writer.end((p) => p.fail(textOf(failure.error))) : writer.end((p) => (stopped === undefined ? p.done() : p.cancelled(stopped)))
  const waited = new AbortController()
  await Promise.race([ending, sleep(patience, waited.signal).catch(() => {})])
  waited.abort()
  if (failure) local.ended(failure.error)
  else local.ended()
  await ending
}

/** Publishes text until that fails for good. */
class Writer {
  #half = "" // of a surrogate pair, whose other half comes with the next text
  #broken = false

  constructor(
    readonly producer: LiveProducer,
    readonly say: (error: unknown) => void,
  ) {}

  async write(text: string): Promise<void> {
    text = this.#half + text
    this.#half = /[\uD800-\uDBFF]$/.test(text) ? text.slice(-1) : ""
    if (this.#half) text = text.slice(0, -1)
    if (text) await this.#try(() => this.producer.publish(text))
  }

  async end(how: (producer: LiveProducer) => Promise<Verdict>): Promise<void> {
    if (this.#half) await this.#try(() => this.producer.publish(this.#half))
    await this.#try(() => how(this.producer))
  }

  async #try(what: () => Promise<unknown>): Promise<void> {
    if (this.#broken) return
    try {
      await what()
    } catch (error) {
      this.#broken = true
      this.say(error)
    }
  }
}

/** A live stream as text, from the skip-th UTF-16 unit on. */
function reading(url: string, asking: RequestOptions, skip: number): ReadableStream<string> {
  const left = new AbortController()
  const signal = asking.signal ? AbortSignal.any([asking.signal, left.signal]) : left.signal
  const reader = readLive(url, { ...asking, signal })
  const chunks = reader[Symbol.asyncIterator]()
  return new ReadableStream<string>({
    async pull(out) {
      for (;;) {
        const { done, value } = await chunks.next()
        if (done) {
          const verdict = reader.verdict as Verdict
          if (verdict.kind !== "done" && verdict.kind !== "cancelled") {
            throw new LiveError("closed", `the stream has ended: ${verdict.kind}${verdict.reason ? `, ${verdict.reason}` : ""}`, { verdict })
          }
          return out.close()
        }
        const text = value.text ?? new TextDecoder().decode(value.bytes)
        const rest = text.slice(skip)
        skip = Math.max(0, skip - text.length)
        if (rest) return out.enqueue(rest)
      }
    },
    cancel: (reason) => left.abort(reason),
  })
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
