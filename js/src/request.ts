import { LiveError } from "./error.js"

/** What every request to a gateway may be given. */
export interface RequestOptions {
  /**
   * Gives the bearer token. It is called for each connection, so it can give a fresh one. After a 401 it is called once
   * more, with refused: the request is made again with another token. The same one, or a second 401, is final.
   */
  token?: (asked: CredentialRequest) => string | Promise<string>
  /** Gives a ticket in the place of a token, for each connection too. It goes into the URL. */
  ticket?: (asked: CredentialRequest) => string | Promise<string>
  /** Replaces the global fetch. */
  fetch?: typeof fetch
  /** Ends everything with its reason. */
  signal?: AbortSignal | undefined
  /**
   * How long a connection may be silent before another one is made, in milliseconds; 45,000 by default. A
   * gateway says something every 15 seconds. It finds connections that broke without an error.
   */
  silence?: number
  /** The longest pause before something is tried again, in milliseconds, but for jitter; 15,000 by default. */
  maxPause?: number
  /**
   * Is called before each pause with what failed and how often in a row that was, from 1. What is final is thrown
   * instead. The request that polls for messages reports here, too.
   */
  onRetry?: (error: unknown, attempt: number) => void
}

/** Why a token or a ticket is asked for. */
export interface CredentialRequest {
  /** The gateway refused the last one. */
  refused: boolean
}

const shortest = 250
const longest = 15_000
/** The code of an answer that is not a gateway's: the address is wrong, or a proxy's gateway is away. */
const foreign = "not_a_gateway"

/** Pauses that grow, with jitter, until something succeeds. */
export class Backoff {
  #pause = shortest
  #attempt = 0
  readonly #longest: number

  /** met says that a gateway has answered at this address. */
  constructor(
    readonly o: RequestOptions,
    public met = false,
  ) {
    this.#longest = o.maxPause ?? longest
  }

  reset(): void {
    this.#pause = shortest
    this.#attempt = 0
  }

  /** Reports whether trying again is of no use. Once a gateway has answered, an answer that is none of a gateway means that it is away. */
  final(error: unknown): boolean {
    return error instanceof LiveError && !(this.met && error.code === foreign)
  }

  /**
   * Waits before what failed is tried again; least is what the other side asked for, in milliseconds. More than 15 s of
   * that does not count.
   */
  async wait(signal: AbortSignal | undefined, error: unknown, least = 0): Promise<void> {
    this.o.onRetry?.(error, ++this.#attempt)
    if (error instanceof Passing) least = error.after
    const pause = Math.max(Math.min(least, longest), Math.min(this.#pause, this.#longest) * (0.5 + Math.random()))
    this.#pause = Math.min(2 * this.#pause, this.#longest)
    await sleep(pause, signal)
  }
}

/** What is called when the page goes, into the back/forward cache or frozen, and when it comes back or is online again. */
export const moves = new Set<(goes: boolean) => void>()

const going = ["freeze", "pagehide"]
for (const name of [...going, "online", "pageshow", "resume"]) {
  globalThis.addEventListener?.(
    name,
    ({ persisted }: Event & { persisted?: boolean }) => {
      if (persisted !== false) for (const move of [...moves]) move(going.includes(name)) // the first pageshow of a page is no return
    },
    true,
  )
}

/** Waits so many milliseconds, or until the page goes or comes back; rejects with the reason of signal when that ends first. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  const silent = new Silence({ silence: ms })
  await new Promise((resolve) => either(silent.signal, signal).addEventListener("abort", resolve))
  silent.end()
  signal?.throwIfAborted()
}

/** A signal that is aborted with either of two. */
export function either(one: AbortSignal, other: AbortSignal | undefined): AbortSignal {
  return AbortSignal.any(other ? [one, other] : [one])
}

/** Splits a URL at its query. A fragment is for the page alone. */
export function split(url: string): [path: string, query: string] {
  const [sent = ""] = url.split("#", 1)
  const at = sent.indexOf("?")
  return at < 0 ? [sent, ""] : [sent.slice(0, at), sent.slice(at + 1)]
}

/** What a request is, with plain headers. */
export interface Init extends RequestInit {
  headers?: Record<string, string>
}

/** The URL of an action of a stream, which may have a query of its own. */
export function withAction(url: string, action: string): string {
  const [path, query] = split(url)
  const [name, more] = split(action)
  return `${path}${name}?${[query, more].filter(Boolean).join("&")}`
}

/**
 * Makes one request. It rejects where there is no answer, and with a LiveError that is final. type is that of the answer
 * where it has a body.
 */
export async function request(url: string, o: RequestOptions, init: Init, type = "application/json"): Promise<Response> {
  const given = init.signal ?? o.signal
  let response!: Response
  for (let last: string | undefined, refused = false; ; refused = true) {
    const token = await o.token?.({ refused })
    const ticket = await o.ticket?.({ refused })
    const now = `${token} ${ticket}`
    if (now === last) break
    last = now
    const headers = { ...init.headers, ...(token !== undefined && { Authorization: `Bearer ${token}` }) }
    const at = ticket === undefined ? url : withAction(url, `?ticket=${encodeURIComponent(ticket)}`)
    const silent = new Silence(o)
    try {
      response = await (o.fetch ?? fetch)(at, { ...init, headers, cache: "no-store", signal: either(silent.signal, given) })
    } finally {
      silent.end()
    }
    if (response.status !== 401 || refused) break
  }
  const { status } = response
  if (response.ok) {
    const found = response.headers.get("Content-Type") ?? ""
    if (status === 204 || found.startsWith(type)) return response
    response.body?.cancel().catch(() => {})
    throw new LiveError(foreign, `${status} ${found}`)
  }
  const text = await Silence.bound(o, response.text()).catch(() => "") // a body that does not come changes nothing
  given?.throwIfAborted()
  let body: Record<string, unknown> = {}
  try {
    body = { ...(JSON.parse(text) as Record<string, unknown>) } // whatever JSON that is
  } catch {
    // It is not the gateway's: what stands in front of it answers as it likes.
  }
  const { code, message, ...details } = body
  const said = `${status} ${text.slice(0, 200)}`
  if (status === 404 && code !== "not_found") throw new LiveError(foreign, said)
  if (passes(status)) throw new Passing(said, retryAfter(response))
  throw new LiveError(typeof code === "string" ? code : `http_${status}`, String(message ?? said), details)
}

/** Asks for an event stream. */
export async function eventStream(url: string, o: RequestOptions, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  const type = "text/event-stream"
  const { status, body } = await request(url, o, { headers: { Accept: type }, signal }, type)
  if (status === 204 || !body) throw new LiveError("not_found", "there is nothing after this cursor")
  return body
}

/** Ends something that is silent for too long, or when the page goes or comes back. */
export class Silence {
  readonly #over = new AbortController()
  readonly signal = this.#over.signal
  readonly #limit: number
  readonly #fail = () => this.#over.abort(new Error("the connection is silent"))
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(o: RequestOptions) {
    this.#limit = o.silence ?? 45_000
    this.heard()
  }

  /** Begins anew. */
  heard(): void {
    this.end()
    this.#timer = setTimeout(this.#fail, this.#limit)
    moves.add(this.#fail)
  }

  end(): void {
    clearTimeout(this.#timer)
    moves.delete(this.#fail)
  }

  /** Waits for a promise, which goes on where this rejects. */
  static async bound<T>(o: RequestOptions, promise: Promise<T>): Promise<T> {
    const silent = new Silence(o)
    const late = new Promise<never>((_, reject) => silent.signal.addEventListener("abort", () => reject(silent.signal.reason)))
    try {
      return await Promise.race([promise, late])
    } finally {
      silent.end()
    }
  }
}

/** A refusal that may be another one soon. */
export class Passing extends Error {
  constructor(
    message: string,
    readonly after: number,
  ) {
    super(message)
  }
}

/** 507 stays until something is deleted or the quota is raised. */
function passes(status: number): boolean {
  return (status >= 500 && status !== 507) || [408, 425, 429].includes(status)
}

function retryAfter(response: Response): number {
  const text = response.headers.get("Retry-After") ?? ""
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return ms > 0 ? ms : 0 // also where it is neither a number nor a date
}

/** Makes a request until it is answered. It must be one that may be made again. met says that a gateway has answered before. */
export async function retried(url: string, o: RequestOptions, signal: AbortSignal | undefined, init: Init, met = false): Promise<Record<string, unknown>> {
  const backoff = new Backoff(o, met)
  for (;;) {
    try {
      const response = await request(url, o, signal ? { ...init, signal } : init)
      return response.status === 204 ? {} : ((await Silence.bound(o, response.json())) as Record<string, unknown>)
    } catch (error) {
      signal?.throwIfAborted()
      if (backoff.final(error)) throw error
      await backoff.wait(signal, error)
    }
  }
}
