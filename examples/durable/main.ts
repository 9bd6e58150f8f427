// A page that writes notes to a stream and shows those of everybody, with the official client of
// Durable Streams. The stream is named by the page's address: ?stream=/v1/stream/notes/today
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client"

interface Note {
  text: string
}

const url = new URL(new URLSearchParams(location.search).get("stream") ?? "/v1/stream/notes/today", location.href).href
const list = document.querySelector("ul")!
const form = document.querySelector("form")!
const input = document.querySelector("input")!

// A producer of this page's own: what is sent again after a fault is stored once.
const producer = DurableStream.create({ url, contentType: "application/json" })
  .catch(() => DurableStream.connect({ url })) // somebody else was first
  .then((handle) => new IdempotentProducer(handle, crypto.randomUUID(), { onError: (error) => console.error(error) }))

form.onsubmit = async (event) => {
  event.preventDefault()
  const note: Note = { text: input.value }
  input.value = ""
  ;(await producer).append(JSON.stringify(note))
}

// All that is there, then what comes; the client connects again by itself.
await producer
const response = await stream<Note>({ url, offset: "-1", live: "sse" })
response.subscribeJson(async (batch) => {
  for (const note of batch.items) {
    const item = document.createElement("li")
    item.textContent = note.text
    list.append(item)
  }
})
