import { LiveError, type Verdict } from "./error.js"
import { either, moves } from "./request.js"
import { connect, type Chunk, type Hears, type ReadOptions } from "./read.js"

/** What goes between tabs. Every chunk says after which cursor it comes, so a tab notices what it missed. */
type Note =
  | { here: true } // of the tab that begins to read: ask now
  | { chunk: Chunk; after: string } // of the tab that reads, to all
  | { ended: End; after: string }
  | { ask: string; cursor: string } // of a tab that wants what comes after its cursor
  | { to: string; cursor: string; chunks?: Chunk[]; ended?: End } // the answer; without chunks there is none

interface End {
  verdict?: Verdict
  error?: [code: string, message: string, details: Readonly<Record<string, unknown>>]
}

/** How long a tab waits for an answer, and how often it asks for one when all is quiet. */
const patience = 4000
const quiet = 15_000
/** How much of a stream a tab keeps for others, in bytes. */
const mostKept = 8 << 20

export function canShare(): boolean {
  return typeof BroadcastChannel === "function" && typeof navigator === "object" && !!navigator.locks
}

/** Reads as one of several tabs of which one has a connection. */
export async function* share(url: string, options: ReadOptions, cursor: string, hears: Hears): AsyncGenerator<Chunk, Verdict> {
  let tab = new Tab(url, options, cursor, hears)
  // A tab that goes must not keep the lock. When it comes back it joins the others, after what it has given.
  const move = (goes: boolean) => {
    if (tab.ended || tab.alone) return
    const { wake } = tab
    tab.close()
    if (!goes) tab = new Tab(url, options, cursor, hears)
    wake()
  }
  moves.add(move)
  try {
    for (;;) {
      const chunk = tab.ready.shift()
      if (chunk) {
        cursor = chunk.cursor
        yield chunk
      } else if (tab.ended) {
        const { verdict, error } = tab.ended
        if (verdict) return verdict
        throw error ? new LiveError(...error) : tab.reason
      } else if (tab.alone) {
        tab.close()
        return yield* connect(url, options, cursor, hears)
      } else await new Promise<void>((resolve) => (tab.wake = resolve))
    }
  } finally {
    moves.delete(move)
    tab.close()
  }
}

class Tab {
  readonly ready: Chunk[] = [] // what the iteration has not taken yet
  ended: End | undefined
  reason: unknown
  alone = false // it gave up sharing
  wake = () => {}

  readonly #me = crypto.randomUUID()
  readonly #kept: Chunk[] = []
  #bytes = 0
  #from: string // the cursor before the first chunk that is kept
  #last: string // of the last chunk that is known
  readonly #channel: BroadcastChannel
  readonly #over = new AbortController()
  #timer: ReturnType<typeof setTimeout> | undefined
  #reads = false
  #asking = false
  #asked: { ask: string; cursor: string }[] = [] // by tabs that know more than this one yet

  constructor(
    readonly url: string,
    readonly options: ReadOptions,
    cursor: string,
    readonly hears: Hears,
  ) {
    this.#from = this.#last = cursor
    const name = `streamhub ${new URL(url, location.href)}`
    this.#channel = new BroadcastChannel(name)
    this.#channel.onmessage = (event) => this.#hear(event.data as Note)
    const { signal } = options
    signal?.addEventListener("abort", () => this.#fail(signal.reason), { once: true, signal: this.#over.signal })
    if (signal?.aborted) this.#fail(signal.reason)
    // Whoever gets the lock reads. It is free again when the tab is closed, however that happens.
    navigator.locks.request(name, { signal: this.#over.signal }, () => this.#read()).catch(() => {})
    this.#ask()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#over.abort()
    this.#channel.close()
  }

  async #read(): Promise<void> {
    this.#reads = true
    clearTimeout(this.#timer)
    this.#channel.postMessage({ here: true } satisfies Note)
    const chunks = connect(this.url, { ...this.options, signal: either(this.#over.signal, this.options.signal) }, this.#last, this.hears)
    try {
      for (;;) {
        const { done, value } = await chunks.next()
        if (done) return this.#end({ verdict: value })
        this.#channel.postMessage({ chunk: value, after: this.#last } satisfies Note)
        this.#take(value)
        this.#answer()
      }
    } catch (error) {
      if (this.#over.signal.aborted) return
      if (error instanceof LiveError) this.#end({ error: [error.code, error.message, error.details] })
      else this.#fail(error)
    }
  }

  #end(ended: End): void {
    this.#channel.postMessage({ ended, after: this.#last } satisfies Note)
    this.ended = ended
    this.#answer()
    this.wake()
  }

  #fail(reason: unknown): void {
    this.reason = reason
    this.ended ??= {}
    this.wake()
  }

  #take(chunk: Chunk): void {
    this.#last = chunk.cursor
    this.#kept.push(chunk)
    this.#bytes += chunk.bytes.length
    while (this.#bytes > mostKept) {
      const first = this.#kept.shift() as Chunk
      this.#from = first.cursor
      this.#bytes -= first.bytes.length
    }
    this.ready.push(chunk)
    this.wake()
  }

  /** Asks for what comes after the last chunk, and gives up sharing where no tab answers. */
  #ask(): void {
    clearTimeout(this.#timer)
    if (this.#reads || this.#asking) return
    this.#asking = true
    this.#channel.postMessage({ ask: this.#me, cursor: this.#last } satisfies Note)
    this.#timer = setTimeout(() => this.#leave(), patience)
  }

  #leave(): void {
    if (this.#reads) return
    this.alone = true
    this.wake()
  }

  #hear(note: Note): void {
    if ("ask" in note) {
      if (!this.#reads) return
      this.#asked.push(note)
      this.#answer()
      return
    }
    if (this.#reads || this.ended || this.alone) return
    if ("here" in note) {
      this.#asking = false
      this.#ask()
    } else if ("to" in note) {
      if (note.to !== this.#me) return
      if (!note.chunks) return this.#leave()
      if (note.cursor === this.#last) {
        this.hears.state("waiting")
        for (const chunk of note.chunks) this.#take(chunk)
        if (note.ended) this.ended = note.ended
        this.wake()
      }
      this.#asking = false
      clearTimeout(this.#timer)
      this.#timer = setTimeout(() => this.#ask(), quiet)
    } else if (note.after !== this.#last) {
      this.#ask()
    } else if ("chunk" in note) {
      this.#take(note.chunk)
    } else {
      this.ended = note.ended
      this.wake()
    }
  }

  /** Answers those that asked. One that knows more is answered when this tab knows that, too. */
  #answer(): void {
    this.#asked = this.#asked.filter(({ ask, cursor }) => {
      const at = cursor === this.#from ? 0 : this.#kept.findLastIndex((chunk) => chunk.cursor === cursor) + 1
      if (at === 0 && cursor !== this.#from) {
        if (!this.ended) return true // it gives up sharing after its patience
        this.#channel.postMessage({ to: ask, cursor } satisfies Note)
        return false
      }
      this.#channel.postMessage({ to: ask, cursor, chunks: this.#kept.slice(at), ...(this.ended && { ended: this.ended }) } satisfies Note)
      return false
    })
  }
}
