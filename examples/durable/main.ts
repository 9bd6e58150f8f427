// A page that writes notes to a stream and shows those of everybody, with the official client of
// Durable Streams. The stream is named by the page's address: ?stream=/v1/stream/notes/today
//
// It lives through a gateway that is away: what is typed waits in an outbox, also through a reload
// of the page, and the reader connects again behind what it has shown.
import { DurableStream, FetchError, IdempotentProducer, stream } from "@durable-streams/client"

interface Note {
  id: string // made where it is typed: a note that is sent twice is shown once
  text: string
}

const url = new URL(new URLSearchParams(location.search).get("stream") ?? "/v1/stream/notes/today", location.href).href
const list = document.querySelector("ul")!
const form = document.querySelector("form")!
const input = document.querySelector("input")!
const state = document.querySelector("#state")!

const box = `outbox of ${url}`
const outbox: Note[] = JSON.parse(sessionStorage.getItem(box) ?? "[]")
let connection = "connecting …"

function show() {
  sessionStorage.setItem(box, JSON.stringify(outbox))
  const waiting = outbox.length === 1 ? "1 note waits" : `${outbox.length} notes wait`
  state.textContent = outbox.length ? `${connection}, ${waiting}` : connection
}

function say(text: string) {
  connection = text
  show()
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const away = () => say("the gateway is away, connecting again …")
const patient = { initialDelay: 200, maxDelay: 3000, multiplier: 2, onFailedAttempt: away }

// The producer retries nothing, and takes a batch that failed for lost. So its requests are repeated
// until there is an answer; the producer's id and sequence have each batch stored once.
const persistent: typeof fetch = async (request, init) => {
  for (let delay = patient.initialDelay; ; delay = Math.min(2 * delay, patient.maxDelay)) {
    const response = await fetch(request, { ...init, signal: AbortSignal.timeout(10_000) }).catch(() => undefined)
    if (response && response.status < 500 && response.status !== 429) return response
    away()
    await pause(delay * (0.5 + Math.random()))
  }
}

// open creates the stream unless somebody has, and returns a producer of this page's own.
async function open(failed: (error: Error) => void) {
  const handle = await DurableStream.create({ url, contentType: "application/json", backoffOptions: patient })
    .catch(() => DurableStream.connect({ url, backoffOptions: patient }))
  return new IdempotentProducer(handle, crypto.randomUUID(), { fetch: persistent, maxInFlight: 1, lingerMs: 0, onError: failed })
}

// send stores what is in the outbox, one note after the other. A note leaves it when it is stored.
let sending = false
async function send() {
  if (sending) return
  sending = true
  let producer: IdempotentProducer | undefined
  while (outbox.length > 0) {
    let failure: Error | undefined
    try {
      producer ??= await open((error) => (failure = error))
      producer.append(JSON.stringify(outbox[0]))
      await producer.flush()
    } catch (error) {
      failure = error as Error
    }
    if (failure) {
      // The stream has gone, or is another one than this producer knows: begin again.
      console.warn(failure)
      producer = undefined
      await pause(patient.initialDelay)
      continue
    }
    outbox.shift()
    show()
  }
  sending = false
}

form.onsubmit = (event) => {
  event.preventDefault()
  outbox.push({ id: crypto.randomUUID(), text: input.value })
  input.value = ""
  show()
  void send()
}
window.onbeforeunload = (event) => {
  if (outbox.length > 0) event.preventDefault() // a closed tab forgets its outbox
}

// follow shows all that is there, then what comes. The client ends when its connection is cut.
async function follow() {
  const shown = new Set<string>()
  for (let offset = "-1"; ; await pause(patient.initialDelay)) {
    try {
      const response = await stream<Note>({ url, offset, live: "sse", json: true, backoffOptions: patient })
      say("live")
      response.subscribeJson((batch) => {
        for (const { id, text } of batch.items) {
          if (shown.has(id)) continue
          if (id) shown.add(id)
          const item = document.createElement("li")
          item.textContent = text
          list.append(item)
        }
        offset = batch.offset
      })
      await response.closed
    } catch (error) {
      if (error instanceof FetchError && error.status >= 400 && error.status < 500 && error.status !== 429) {
        // There is none yet, or it was deleted, or has lost what this page has shown: show what there is.
        offset = "-1"
        shown.clear()
        list.replaceChildren()
        if (error.status === 404) await open(console.warn)
      }
    }
    away()
  }
}

show()
void send()
void follow()
