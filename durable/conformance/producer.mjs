// Writes numbered messages with the official client and its idempotent producer, and reads them
// back until all are there. Whatever happens to the gateway meanwhile is for the client to bear.
//
//   node producer.mjs URL COUNT
import { DurableStream, IdempotentProducer } from "@durable-streams/client"

const [url, count] = [process.argv[2], Number(process.argv[3])]
const backoffOptions = { initialDelay: 50, maxDelay: 1000, multiplier: 1.5, maxRetries: Infinity }
const stream = await DurableStream.create({ url, contentType: "application/json", backoffOptions })

// The producer sends each batch once, so what dies with a gateway is sent again here. The gateway
// knows the batch by its sequence, whether it was stored or not.
async function again(url, options) {
  for (;;) {
    try {
      const response = await fetch(url, options)
      if (response.status < 500) return response
    } catch {
      // nobody answered
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

let failed
const producer = new IdempotentProducer(stream, "writer", {
  lingerMs: 2,
  maxBatchBytes: 2000,
  fetch: again,
  onError: (error) => (failed ??= error),
})
const message = (n) => JSON.stringify({ n, text: `message ${n} ünï "${"x".repeat(n % 50)}"` })
for (let n = 0; n < count && !failed; n++) {
  producer.append(message(n))
  if (n % 20 === 19) await new Promise((resolve) => setTimeout(resolve, 10))
}
await producer.flush()
if (failed) throw failed

const response = await stream.stream({ offset: "-1", live: false, json: true })
const read = await response.json()
if (read.length !== count) throw new Error(`${read.length} messages, want ${count}`)
read.forEach((got, n) => {
  if (JSON.stringify(got) !== message(n)) throw new Error(`message ${n} is ${JSON.stringify(got)}`)
})
console.log(`${count} messages`)
