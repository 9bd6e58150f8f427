import { LiveError, type Verdict } from "./error.js"
import { produceLive, type ProduceOptions } from "./produce.js"
import { readLive, type ReadOptions } from "./read.js"

/** An event of AG-UI. */
export interface AgentEvent {
  type: string
}

/**
 * Publishes a run: each event is a chunk. The stream ends with the run: RUN_ERROR as failed, a stop of
 * onStop as cancelled, and whatever the events throw as failed, after a RUN_ERROR that says so.
 */
export async function publishRun(url: string | URL, events: AsyncIterable<AgentEvent>, options: ProduceOptions = {}): Promise<Verdict> {
  let stopped: string | undefined
  const onStop = (by: string, reason: string) => {
    stopped = reason
    options.onStop?.(by, reason)
  }
  const producer = await produceLive(url, { ...options, onStop })
  let failure: string | undefined
  const publish = (event: AgentEvent & { message?: unknown }) => {
    if (event.type === "RUN_ERROR") failure = String(event.message ?? "RUN_ERROR")
    return producer.publish(JSON.stringify(event))
  }
  try {
    for await (const event of events) await publish(event)
  } catch (error) {
    if (error instanceof LiveError) throw error // it is no producer any more
    if (stopped === undefined) await publish({ type: "RUN_ERROR", message: error instanceof Error ? error.message : String(error) })
  }
  if (stopped !== undefined) return producer.cancelled(stopped)
  return failure === undefined ? producer.done() : producer.fail(failure)
}

/**
 * Answers with the events of a run, from its start or after options.cursor, as an HttpAgent of AG-UI reads
 * them. A run that ends without RUN_FINISHED or RUN_ERROR, because its producer died or somebody stopped
 * it, gets a RUN_ERROR whose code is the kind of the verdict.
 */
export function runResponse(url: string | URL, options: ReadOptions = {}): Response {
  const left = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, left.signal]) : left.signal
  const reader = readLive(url, { ...options, signal })
  const chunks = reader[Symbol.asyncIterator]()
  let over = false
  const encoder = new TextEncoder()
  const body = new ReadableStream<Uint8Array>({
    async pull(out) {
      const send = (text: string) => out.enqueue(encoder.encode(`data: ${text}\n\n`))
      const { done, value } = await chunks.next()
      if (!done) {
        const text = value.text ?? ""
        const { type } = JSON.parse(text) as AgentEvent
        over ||= type === "RUN_FINISHED" || type === "RUN_ERROR"
        return send(text)
      }
      const { kind, reason } = reader.verdict as Verdict
      if (!over) send(JSON.stringify({ type: "RUN_ERROR", message: reason ?? `the run ended: ${kind}`, code: kind }))
      out.close()
    },
    cancel: (reason) => left.abort(reason),
  })
  return new Response(body, { headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no" } })
}
