import { LiveError } from "./error.js"

/** What every request to a gateway may be given. */
export interface RequestOptions {
  /** Gives the bearer token. It is called for each connection, so it can give a fresh one. */
  token?: () => string | Promise<string>
  /** Gives a ticket in the place of a token, for each connection too. It goes into the URL. */
  ticket?: () => string | Promise<string>
  /** Replaces the global fetch. */
  fetch?: typeof fetch
  /** Ends everything with its reason. */
  signal?: AbortSignal
  /**
   * How long a connection may be silent before another one is made, in milliseconds; 45,000 by default. A
   * gateway says something every 15 seconds. It finds connections that broke without an error.
   */
  silence?: number
  /** The longest pause before something is tried again, in milliseconds, but for jitter; 15,000 by default. */
  maxPause?: number
}

const shortest = 250
const longest = 15_000

/** Pauses that grow, with jitter, until something succeeds. */
export class Backoff {
  #pause = shortest
  readonly #longest: number

  constructor(o: RequestOptions) {
    this.#longest = o.maxPause ?? longest
  }

  reset(): void {
    this.#pause = shortest
  }

  /** Waits; least is what the other side asked for, in milliseconds. More than 15 s of that does not count. */
  async wait(signal: AbortSignal | undefined, least = 0): Promise<void> {
    const pause = Math.max(Math.min(least, longest), Math.min(this.#pause, this.#longest) * (0.5 + Math.random()))
    this.#pause = Math.min(2 * this.#pause, this.#longest)
    await sleep(pause, signal)
  }
}

/** Waits so many milliseconds; rejects with the reason of signal when that ends first. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const end = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end)
      resolve()
    }, ms)
    signal?.addEventListener("abort", end, { once: true })
  })
}

/** Splits a URL at its query. A fragment is for the page alone. */
export function split(url: string): [path: string, query: string] {
  const [sent = ""] = url.split("#", 1)
  const at = sent.indexOf("?")
  return at < 0 ? [sent, ""] : [sent.slice(0, at), sent.slice(at + 1)]
}

/** Makes one request. It rejects where there is no answer, and with a LiveError that is final. */
export async function request(url: string, o: RequestOptions, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers)
  if (o.token) headers.set("Authorization", `Bearer ${await o.token()}`)
  if (o.ticket) url += `${url.includes("?") ? "&" : "?"}ticket=${encodeURIComponent(await o.ticket())}`
  const silent = new Silence(o)
  const given = init.signal ?? o.signal
  const signal = given ? AbortSignal.any([given, silent.signal]) : silent.signal
  let response: Response
  try {
    response = await (o.fetch ?? fetch)(url, { ...init, headers, cache: "no-store", signal })
  } finally {
    silent.end()
  }
  if (response.ok) return response
  const text = await Silence.bound(o, response.text()).catch(() => "") // a body that does not come changes nothing
  given?.throwIfAborted()
  let body: Record<string, unknown> = {}
  try {
    body = { ...(JSON.parse(text) as Record<string, unknown>) } // whatever JSON that is
  } catch {
    // It is not the gateway's: what stands in front of it answers as it likes.
  }
  if (passes(response.status, body.code)) throw new Passing(`${response.status} ${text.slice(0, 200)}`, retryAfter(response), body)
  const { code, message, ...details } = body
  throw new LiveError(typeof code === "string" ? code : `http_${response.status}`, String(message ?? response.statusText), details)
}

/** Ends something that is silent for too long. */
export class Silence {
  readonly #over = new AbortController()
  readonly #limit: number
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(o: RequestOptions) {
    this.#limit = o.silence ?? 45_000
    this.heard()
  }

  get signal(): AbortSignal {
    return this.#over.signal
  }

  /** Begins anew. */
  heard(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#over.abort(new Error("the connection is silent")), this.#limit)
  }

  end(): void {
    clearTimeout(this.#timer)
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
    readonly body: Readonly<Record<string, unknown>>,
  ) {
    super(message)
  }
}

/**
 * 404 without our code is a proxy whose gateway is away. 507 stays until something is deleted or the
 * quota is raised.
 */
function passes(status: number, code: unknown): boolean {
  return (status >= 500 && status !== 507) || status === 408 || status === 425 || status === 429 || (status === 404 && code !== "not_found")
}

function retryAfter(response: Response): number {
  const text = response.headers.get("Retry-After") ?? ""
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return ms > 0 ? ms : 0 // also where it is neither a number nor a date
}

/** Makes a request until it is answered. It must be one that may be made again. */
export async function retried(url: string, o: RequestOptions, signal: AbortSignal | undefined, init: RequestInit): Promise<Record<string, unknown>> {
  const backoff = new Backoff(o)
  for (;;) {
    let least = 0
    try {
      const response = await request(url, o, signal ? { ...init, signal } : init)
      return response.status === 204 ? {} : ((await Silence.bound(o, response.json())) as Record<string, unknown>)
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof LiveError) throw error
      if (error instanceof Passing) least = error.after
    }
    await backoff.wait(signal, least)
  }
}
