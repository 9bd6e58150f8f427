import { Silence, type RequestOptions } from "./request.js"

/** One event of an event stream. */
export interface StreamEvent {
  name: string
  id: string
  data: string
}

/**
 * Reads an event stream as https://html.spec.whatwg.org/multipage/server-sent-events.html describes it.
 * onRetry hears the pause that the server asks for, in milliseconds. An event that was cut is none. The
 * connection ends where it is silent for longer than o says.
 */
export async function* readEvents(body: ReadableStream<Uint8Array>, o: RequestOptions, onRetry: (ms: number) => void): AsyncGenerator<StreamEvent> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader()
  const silent = new Silence(o)
  let late: unknown
  silent.signal.addEventListener("abort", () => {
    late = silent.signal.reason
    void reader.cancel(late).catch(() => {})
  })
  try {
    let rest = ""
    let event: StreamEvent = { name: "", id: "", data: "" }
    let data: string[] = []
    for (;;) {
      silent.heard()
      const { done, value } = await reader.read()
      silent.end() // the caller may be slow
      if (late) throw late
      if (done) return
      rest += value
      // A CR at the end may be half of a CRLF.
      const lines = (rest.endsWith("\r") ? rest.slice(0, -1) : rest).split(/\r\n|\n|\r/)
      const kept = rest.endsWith("\r") ? "\r" : ""
      rest = (lines.pop() ?? "") + kept
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield { ...event, data: data.join("\n") }
          event = { name: "", id: event.id, data: "" }
          data = []
          continue
        }
        const colon = line.indexOf(":")
        const field = colon < 0 ? line : line.slice(0, colon)
        let text = colon < 0 ? "" : line.slice(colon + 1)
        if (text.startsWith(" ")) text = text.slice(1)
        if (field === "data") data.push(text)
        else if (field === "event") event.name = text
        else if (field === "id") event.id = text
        else if (field === "retry" && /^\d+$/.test(text)) onRetry(Number(text))
      }
    }
  } finally {
    silent.end()
    await reader.cancel().catch(() => {})
  }
}
