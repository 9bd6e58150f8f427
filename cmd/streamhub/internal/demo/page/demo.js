import { readLive } from "/streamhub.js"

const $ = (selector, below = document) => below.querySelector(selector)

// following keeps an element at its end until its reader scrolls up. It returns what to call after text was added.
function following(element) {
  let follows = true
  let top = 0
  element.onscroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = element
    follows = scrollHeight - scrollTop - clientHeight < 60 || (follows && scrollTop >= top)
    top = scrollTop
  }
  const end = () => {
    if (follows) element.scrollTop = element.scrollHeight
  }
  new ResizeObserver(end).observe(element) // the same text is higher in a narrow window
  return end
}

// A pane reads one answer, over as many generations as it has, and counts what it gets.
class Pane {
  constructor(number) {
    this.number = number
    this.root = $(`#pane-${number}`)
    this.root.append($("#pane").content.cloneNode(true))
    const name = `Pane ${number}`
    $("h2", this.root).textContent = name
    this.text = $(".text", this.root)
    this.toEnd = following(this.text)
    this.text.setAttribute("aria-label", `Text of ${name.toLowerCase()}`)
    const cut = $("button", this.root)
    cut.setAttribute("aria-label", `Cut the connection of ${name.toLowerCase()}`)
    cut.onclick = () => act(`cut-${number}`)
  }

  say(text) {
    const state = $(".state", this.root)
    if (state.textContent !== text) state.textContent = text
  }

  // What was counted is shown once a frame, however many words came.
  show() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = undefined
      for (const name of ["words", "gaps", "duplicates", "resumes"]) {
        const dd = $(`.${name}`, this.root)
        dd.textContent = this.count[name]
        dd.classList.toggle("wrong", this.count[name] > 0 && (name === "gaps" || name === "duplicates"))
      }
      $(".cursor", this.root).textContent = $(".cursor", this.root).title = this.cursor || "–"
      this.text.append(...this.coming.splice(0))
      this.toEnd()
    })
  }

  mark(text, kind) {
    const mark = document.createElement("span")
    mark.className = `resumed ${kind}`
    mark.textContent = text
    this.coming.push(mark)
  }

  // Words of producers that were taken over before this pane came to them. The answer keeps all of its generations.
  between(id, first, last, signal) {
    return new Promise((resolve) => {
      const words = []
      let source
      const end = () => {
        source.close()
        resolve(words)
      }
      const open = () => {
        source = new EventSource(`/pane/${this.number}/v1/live?id=${id}&generations=1`)
        source.onmessage = ({ data }) => {
          const { n, w } = JSON.parse(JSON.parse(data).data)
          if (n === first + words.length) words.push(w)
          if (n >= last) end()
        }
        source.onerror = () => {
          if (source.readyState === EventSource.CLOSED && !signal.aborted) setTimeout(open, 500)
        }
      }
      signal.addEventListener("abort", end, { once: true })
      open()
    })
  }

  async read(id) {
    this.stop?.abort()
    const { signal } = (this.stop = new AbortController())
    this.count = { words: 0, gaps: 0, duplicates: 0, resumes: 0 }
    this.coming = []
    this.text.textContent = this.cursor = ""
    this.show()
    let last = 0
    let gateway = ""
    const through = async (url, init) => {
      const response = await fetch(url, init)
      if (response.ok) gateway = response.headers.get("Demo-Gateway")
      return response
    }
    try {
      for (let before = 0, taken = false; ; taken = true) {
        const say = (state) => signal.aborted || this.say({ connecting: "connecting again …", waiting: `at gateway ${gateway}, waiting for words`, reading: `reading at gateway ${gateway}` }[state] ?? "")
        const reader = readLive(`/pane/${this.number}/v1/live/${id}`, { signal, fetch: through, maxPause: 1000, onState: say })
        let resumed = 0
        for await (const chunk of reader) {
          const { n, w } = JSON.parse(chunk.text)
          if (reader.resumes > resumed) {
            this.mark(`↻ ${gateway}`, "")
            resumed = reader.resumes
          }
          if (this.count.words === 0 && n > 1) {
            this.mark(`${n - 1} words of earlier producers`, "took") // they were said before the page came
            last = n - 1
          }
          if (taken && n > last + 1) {
            for (const w of await this.between(id, last + 1, n - 1, signal)) {
              this.coming.push(`${w} `)
              this.count.words++
              last++
            }
          }
          taken = false
          if (n <= last) this.count.duplicates++
          else this.count.gaps += n - last - 1
          last = Math.max(n, last)
          this.count.words++
          this.count.resumes = before + reader.resumes
          this.cursor = chunk.cursor
          this.coming.push(`${w} `)
          this.show()
        }
        before += reader.resumes
        const { kind, reason } = reader.verdict
        if (kind !== "superseded") return this.say(`ended: ${kind}${reason ? `, ${reason}` : ""}`)
        this.mark("⇄ another producer", "took")
      }
    } catch (error) {
      if (!signal.aborted) this.say(`ended: ${error.message}`)
    }
  }
}

const panes = [new Pane(1), new Pane(2)]

async function act(name) {
  const response = await fetch(`/do/${name}`, { method: "POST" }).catch(() => undefined)
  if (!response?.ok) offline()
  await poll()
}

for (const button of document.querySelectorAll("[data-do]")) button.onclick = () => act(button.dataset.do)

function part(id, kind, text) {
  const root = $(`#${id}`)
  root.classList.remove("up", "busy", "down")
  root.classList.add(kind)
  if ($(".state", root).textContent !== text) $(".state", root).textContent = text
}

function enable(name, on) {
  $(`[data-do="${name}"]`).disabled = !on
}

function offline() {
  for (const name of ["gateway-A", "gateway-B", "redis", "producer"]) part(name, "down", "the demo has ended")
}

let id
let shown = 0

function draw({ gateways, redis, answer, log }) {
  if (answer.id !== id) {
    id = answer.id
    for (const pane of panes) pane.read(id)
  }
  for (const { name, up } of gateways) {
    part(`gateway-${name}`, up ? "up" : "down", up ? `a process of its own; pane ${name === "A" ? 1 : 2} prefers it` : "killed: its readers go on at the other one")
    enable(`kill-${name}`, up)
    enable(`start-${name}`, !up)
  }
  const paused = redis.state === "paused"
  part("redis", { up: "up", paused: "busy" }[redis.state] ?? "down", { up: redis.kind, paused: "paused: nothing can be stored" }[redis.state] ?? "restarting …")
  const pause = $('[data-do$="e-redis"]')
  pause.dataset.do = paused ? "resume-redis" : "pause-redis"
  pause.textContent = paused ? "Resume Redis" : "Pause Redis"
  const producing = answer.state === "producing"
  const waiting = answer.waiting > 2 ? `, ${answer.waiting} of them not stored yet` : ""
  part("producer", producing ? (waiting ? "busy" : "up") : "busy", producing ? `number ${answer.producer}, ${answer.words} words said${waiting}` : answer.state)
  enable("takeover", producing)
  enable("stop", producing)
  for (const { number, time, text } of log) {
    if (number <= shown) continue
    shown = number
    const item = document.createElement("li")
    const at = document.createElement("time")
    at.textContent = time
    item.append(at, text)
    $("#log").prepend(item)
  }
}

async function poll() {
  try {
    draw(await (await fetch("/state")).json())
  } catch {
    offline()
  }
}

async function watch() {
  await poll()
  setTimeout(watch, 300)
}
watch()
