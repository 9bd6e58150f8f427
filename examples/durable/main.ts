// A page that writes notes to a stream and shows those of everybody, with the official client of
// Durable Streams. The stream is named by the page's address: ?stream=/v1/stream/notes/today
//
// Nothing that was typed is lost: a note is in the storage of the browser before the field is cleared, and
// leaves it when it is stored. It waits there while the gateway is away, through a reload, and when the
// tab is closed, until any tab with this page sends it. The reader connects again after what it has shown.
import { DurableStream, FetchError, IdempotentProducer, stream } from "@durable-streams/client"

interface Note {
  id: string // made where it is typed: a note that is sent twice is stored once
  text: string
  at: number // when it was typed, for the order of those that wait
}

const url = new URL(new URLSearchParams(location.search).get("stream") ?? "/v1/stream/notes/today", location.href).href
const list = document.querySelector("ul")!
const form = document.querySelector("form")!
const input = document.querySelector("input")!
const add = document.querySelector("button")!
const state = document.querySelector("#state")!
const waitingList = document.querySelector("ol")!
const box = `note for ${url} `
const draft = `draft for ${url}`
let connection = "connecting …"
let refusal = "" // why the gateway does not take the first note that waits

// The outbox is that of all tabs with this page: each note has a key of its own, so no tab overwrites another's.
function outbox(): Note[] {
  return Object.keys(localStorage)
    .filter((key) => key.startsWith(box))
    .flatMap((key) => JSON.parse(localStorage.getItem(key) ?? "[]") as Note)
    .sort((a, b) => a.at - b.at)
}

function show() {
  const notes = outbox()
  const waiting = notes.length === 1 ? "1 note waits" : `${notes.length} notes wait`
  state.textContent = notes.length ? `${connection}, ${waiting}${refusal}` : connection
  waitingList.replaceChildren(...notes.map(({ text }) => {
    const item = document.createElement("li")
    item.textContent = text
    return item
  }))
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

// open creates the stream if there is none.
async function open() {
  const handle = new DurableStream({ url, contentType: "application/json", backoffOptions: patient })
  await handle.create().catch(() => handle.head())
  return handle
}

// store appends a note. Each note is a producer of its own, so the gateway recognises it whatever tab sends it again.
async function store(handle: DurableStream, note: Note) {
  let failure: Error | undefined
  const producer = new IdempotentProducer(handle, note.id, { fetch: persistent, lingerMs: 0, onError: (error) => (failure = error) })
  producer.append(JSON.stringify(note))
  await producer.flush()
  if (failure) throw failure
}

// send stores what is in the outbox, one note after the other. One tab does it at a time; when it is closed, the lock
// goes to the next one.
let sending = false
async function send() {
  if (sending) return
  sending = true
  await navigator.locks.request(box, drain).finally(() => (sending = false))
  if (outbox().length > 0) void send()
}

async function drain() {
  let handle: DurableStream | undefined
  for (let note = outbox()[0]; note; note = outbox()[0]) {
    try {
      handle ??= await open()
      await store(handle, note)
    } catch (error) {
      // The stream has gone, which open mends, or the gateway refuses the note, which the page has to show.
      if (!(error instanceof FetchError && error.status === 404)) refusal = `: ${(error as Error).message}`
      show()
      handle = undefined
      await pause(patient.initialDelay)
      continue
    }
    refusal = ""
    localStorage.removeItem(box + note.id)
    show()
  }
}

form.onsubmit = (event) => {
  event.preventDefault()
  if (!input.value.trim()) return
  const note: Note = { id: crypto.randomUUID(), text: input.value, at: Math.max(Date.now(), (outbox().at(-1)?.at ?? 0) + 1) }
  try {
    localStorage.setItem(box + note.id, JSON.stringify(note))
  } catch (error) {
    say(`the browser has no room for this note: ${error}`) // it stays in the field
    return
  }
  input.value = ""
  sessionStorage.removeItem(draft)
  show()
  void send()
}
input.oninput = () => sessionStorage.setItem(draft, input.value)
input.value = sessionStorage.getItem(draft) ?? ""
// What other tabs have typed and sent, also while this page was not shown.
for (const event of ["storage", "pageshow"]) {
  addEventListener(event, () => {
    show()
    void send()
  })
}

// follow shows all that is there, then what comes. The client ends when its connection is cut.
async function follow() {
  const shown = new Set<string>()
  for (let offset = "-1"; ; await pause(patient.initialDelay)) {
    try {
      const response = await stream<Note>({ url, offset, live: "sse", json: true, backoffOptions: patient })
      say("live")
      response.subscribeJson((batch) => {
        for (const note of batch.items) {
          const { id, text } = note ?? {}
          if (typeof text !== "string" || shown.has(id)) continue // not of this page, or one of an earlier connection
          if (id) shown.add(id)
          const item = document.createElement("li")
          item.textContent = text
          list.append(item)
        }
        offset = batch.offset
      })
      await response.closed
      if (response.streamClosed) return say("the stream is closed")
    } catch (error) {
      if (error instanceof FetchError && error.status >= 400 && error.status < 500 && error.status !== 429) {
        // There is none yet, or it was deleted, or has lost what this page has shown: show what there is.
        offset = "-1"
        shown.clear()
        list.replaceChildren()
        if (error.status === 404) await open()
      }
    }
    away()
  }
}

// Until now nothing could be typed, because nothing would have kept it.
input.disabled = add.disabled = false
input.focus()
void follow()
