import { useCallback, useEffect, useRef, useState } from "react"
import { cancelLive } from "./ask.js"
import type { LiveError, Verdict } from "./error.js"
import { readLive, type Chunk, type LiveReader, type ReadOptions, type ReadState } from "./read.js"

export interface UseLiveOptions extends Omit<ReadOptions, "onState" | "signal"> {
  /** Gets every chunk, in order, once. Without it their text is put together. */
  onChunk?: (chunk: Chunk) => void
}

/** What a component shows of a live stream. */
export interface LiveView {
  /** The text of all chunks so far. */
  text: string
  state: ReadState | "idle"
  /** How often a connection was made again. */
  resumes: number
  /** Resumes after what is shown. */
  cursor: string
  /** How it ended, once it has. */
  verdict: Verdict | undefined
  /** What ended the reading, where asking again does not cure it. */
  error: LiveError | Error | undefined
}

export interface Live extends LiveView {
  /**
   * Asks the producer of the generation that is shown to stop; before the first chunk, that of the one in force. It resolves
   * when that is stored; the verdict comes with the stream.
   */
  stop(reason?: string): Promise<void>
}

const idle: LiveView = { text: "", state: "idle", resumes: 0, cursor: "", verdict: undefined, error: undefined }

/** How often a component is drawn at most, in milliseconds. */
const frame = 16

/**
 * Reads a live stream for as long as the component is there; undefined reads nothing. Another url begins
 * anew; other options count from the next connection on.
 */
export function useLive(url: string | undefined, options: UseLiveOptions = {}): Live {
  const reading = useRef<LiveReader>(undefined)
  const latest = useRef(options)
  useEffect(() => {
    latest.current = options
  })
  const [view, setView] = useState<LiveView>(idle)

  useEffect(() => {
    setView(idle)
    if (url === undefined) return
    const over = new AbortController()
    let now: LiveView = { ...idle, state: "connecting" }
    let timer: ReturnType<typeof setTimeout> | undefined
    const draw = () => {
      timer = undefined
      setView(now)
    }
    const change = (next: Partial<LiveView>) => {
      now = { ...now, ...next }
      timer ??= setTimeout(draw, frame)
    }
    const { onChunk: _, ...given } = latest.current
    const reader = readLive(url, {
      ...given,
      ...(given.token && { token: (asked) => (latest.current.token ?? given.token)!(asked) }),
      ...(given.ticket && { ticket: (asked) => (latest.current.ticket ?? given.ticket)!(asked) }),
      signal: over.signal,
      onState: (state) => change({ state, resumes: reader.resumes }),
    })
    reading.current = reader
    const read = async () => {
      change({})
      try {
        for await (const chunk of reader) {
          latest.current.onChunk?.(chunk)
          change({ text: now.text + (chunk.text ?? ""), cursor: chunk.cursor, resumes: reader.resumes })
        }
        change({ verdict: reader.verdict })
      } catch (error) {
        if (!over.signal.aborted) change({ error: error as Error })
      }
    }
    void read()
    return () => {
      reading.current = undefined
      over.abort()
      clearTimeout(timer)
    }
  }, [url])

  const stop = useCallback(
    async (reason?: string) => {
      if (url === undefined) return
      const { token, ticket, fetch } = latest.current
      await cancelLive(url, { ...(token && { token }), ...(ticket && { ticket }), ...(fetch && { fetch }), generation: reading.current?.generation, reason })
    },
    [url],
  )
  return { ...view, stop }
}
