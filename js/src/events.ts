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
    const held: string[] = [] // the parts of a line that has not ended: looking at them again would take quadratic time
    let afterCR = false
    let event: StreamEvent = { name: "", id: "", data: "" }
    let data: string[] = []
    for (;;) {
      silent.heard()
      const { done, value } = await reader.read()
      silent.end() // the caller may be slow
      if (late) throw late
      if (done) return
      // A CR ends a line. A LF that comes next belongs to it.
      const lines = (afterCR && value.startsWith("\n") ? value.slice(1) : value).split(/\r\n|\n|\r/)
      afterCR = value.endsWith("\r")
      held.push(lines.shift() ?? "")
      if (lines.length === 0) continue
      lines.unshift(held.splice(0).join(""))
      held.push(lines.pop() ?? "")
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
