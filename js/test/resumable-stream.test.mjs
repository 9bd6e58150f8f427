// What the npm package resumable-stream promises, case by case, on gateways.
import assert from "node:assert/strict"
import { beforeAll, describe, onTestFinished, test } from "vitest"
import { LiveError } from "../dist/index.js"
import { createResumableStreamContext } from "../dist/resumable-stream.js"
import { gateway, proxy, shared, twoGateways } from "./world.mjs"

/** A source that the test feeds. */
function source() {
  let out
  const fed = { made: 0, cancelled: undefined }
  fed.make = () => {
    fed.made++
    return new ReadableStream({ start: (controller) => void (out = controller), cancel: (reason) => void (fed.cancelled = reason) })
  }
  fed.say = (...texts) => texts.forEach((text) => out.enqueue(text))
  fed.end = () => out.close()
  fed.fail = (error) => out.error(error)
  return fed
}

async function all(stream) {
  let text = ""
  for await (const part of stream) text += part
  return text
}

/** Reads until it has so many characters. */
function stepwise(stream) {
  const reader = stream.getReader()
  let text = ""
  return async (length) => {
    while (text.length < length) {
      const { done, value } = await reader.read()
      if (done) break
      text += value
    }
    return text
  }
}

let count = 0
const fresh = () => `answer-${++count}`

const worlds = {
  "one gateway": async (after) => {
    const url = await gateway(after)
    return [url, url]
  },
  "two gateways": twoGateways,
  "a proxy that fails": async (after) => {
    const kinds = ["", 503, "", "drop", { after: 300 }, "", 502]
    const url = await proxy(after, await gateway(after), (n) => kinds[n % kinds.length])
    return [url, url]
  },
}

for (const [name, open] of Object.entries(worlds)) {
  describe(name, () => {
    let here, there // contexts of two processes
    beforeAll(() =>
      shared(async (after) => {
        const urls = await open(after)
        ;[here, there] = urls.map((url) => createResumableStreamContext({ url, waitUntil: null }))
      }),
    )

    test("alone it is a plain stream", async () => {
      const fed = source()
      const stream = await here.resumableStream(fresh(), fed.make)
      fed.say("1\n", "2\n")
      fed.end()
      assert.equal(await all(stream), "1\n2\n")
    })

    test("two readers from the start get everything", async () => {
      const id = fresh()
      const fed = source()
      const first = await here.resumableStream(id, fed.make)
      const second = await there.resumableStream(id, fed.make)
      fed.say("1\n", "2\n")
      fed.end()
      assert.deepEqual(await Promise.all([all(first), all(second)]), ["1\n2\n", "1\n2\n"])
      assert.equal(fed.made, 1)
    })

    test("it is known whether a stream exists", async () => {
      const id = fresh()
      const fed = source()
      assert.equal(await here.hasExistingStream(id), null)
      const first = await here.resumableStream(id, fed.make)
      assert.equal(await there.hasExistingStream(id), true)
      const second = await there.resumableStream(id, fed.make)
      assert.equal(await here.hasExistingStream(id), true)
      fed.say("1\n", "2\n")
      fed.end()
      assert.deepEqual(await Promise.all([all(first), all(second)]), ["1\n2\n", "1\n2\n"])
      assert.equal(await here.hasExistingStream(id), "DONE")
      assert.equal(await there.hasExistingStream(id), "DONE")
      assert.equal(await there.hasExistingStream(fresh()), null)
    })

    test("the second reader ends before the first one reads", async () => {
      const id = fresh()
      const fed = source()
      const first = await here.resumableStream(id, fed.make)
      const second = await there.resumableStream(id, fed.make)
      fed.say("1\n", "2\n")
      fed.end()
      assert.equal(await all(second), "1\n2\n")
      assert.equal(await all(first), "1\n2\n")
    })

    test("a reader that joins in the middle gets everything", async () => {
      const id = fresh()
      const fed = source()
      const first = await here.resumableStream(id, fed.make)
      fed.say("1\n")
      const second = await there.resumableStream(id, fed.make)
      fed.say("2\n")
      fed.end()
      assert.deepEqual(await Promise.all([all(first), all(second)]), ["1\n2\n", "1\n2\n"])
    })

    test("text arrives as it is said, alone", async () => {
      const fed = source()
      const read = stepwise(await here.resumableStream(fresh(), fed.make))
      fed.say("1\n")
      assert.equal(await read(2), "1\n")
      fed.say("2\n")
      assert.equal(await read(4), "1\n2\n")
      fed.end()
      assert.equal(await read(Infinity), "1\n2\n")
    })

    test("text arrives as it is said, at the second reader first", async () => {
      const id = fresh()
      const fed = source()
      const first = stepwise(await here.resumableStream(id, fed.make))
      const second = stepwise(await there.resumableStream(id, fed.make))
      fed.say("1\n")
      assert.equal(await second(2), "1\n")
      assert.equal(await first(2), "1\n")
      fed.say("2\n")
      assert.equal(await second(4), "1\n2\n")
      assert.equal(await first(4), "1\n2\n")
      fed.end()
      assert.deepEqual([await second(Infinity), await first(Infinity)], ["1\n2\n", "1\n2\n"])
    })

    test("text arrives as it is said, at a reader that joins between", async () => {
      const id = fresh()
      const fed = source()
      const first = stepwise(await here.resumableStream(id, fed.make))
      fed.say("1\n")
      assert.equal(await first(2), "1\n")
      const second = stepwise(await there.resumableStream(id, fed.make))
      assert.equal(await second(2), "1\n")
      fed.say("2\n")
      assert.equal(await first(4), "1\n2\n")
      assert.equal(await second(4), "1\n2\n")
      fed.end()
      assert.deepEqual([await first(Infinity), await second(Infinity)], ["1\n2\n", "1\n2\n"])
    })

    test("three readers join at different times", async () => {
      const id = fresh()
      const fed = source()
      const first = await here.resumableStream(id, fed.make)
      fed.say("1\n")
      const second = await there.resumableStream(id, fed.make)
      fed.say("2\n")
      const third = await here.resumableStream(id, fed.make)
      fed.say("3\n")
      fed.end()
      assert.deepEqual(await Promise.all([first, second, third].map(all)), Array(3).fill("1\n2\n3\n"))
      assert.equal(fed.made, 1)
    })

    test("ids are separate", async () => {
      const [one, two] = [source(), source()]
      const first = await here.resumableStream(fresh(), one.make)
      const second = await there.resumableStream(fresh(), two.make)
      one.say("1\n")
      two.say("writer 2\n")
      one.end()
      two.end()
      assert.deepEqual(await Promise.all([all(first), all(second)]), ["1\n", "writer 2\n"])
    })

    for (const [skip, want] of [
      [2, "2\n"],
      [4, ""],
      [0, "1\n2\n"],
    ]) {
      test(`a reader skips ${skip} characters`, async () => {
        const id = fresh()
        const fed = source()
        const first = await here.resumableStream(id, fed.make)
        fed.say("1\n", "2\n")
        const second = await there.resumableStream(id, fed.make, skip)
        fed.end()
        assert.deepEqual(await Promise.all([all(first), all(second)]), ["1\n2\n", want])
      })
    }

    test("a stream that has ended gives null, and is not made again", async () => {
      const id = fresh()
      const fed = source()
      const first = await here.resumableStream(id, fed.make)
      fed.say("1\n")
      fed.end()
      assert.equal(await all(first), "1\n")
      assert.equal(await there.resumableStream(id, fed.make), null)
      assert.equal(await here.resumableStream(id, fed.make), null)
      assert.equal(fed.made, 1)
    })

    test("a stream is created, and resumed", async () => {
      const id = fresh()
      const fed = source()
      const first = await here.createNewResumableStream(id, fed.make)
      const second = await there.resumeExistingStream(id)
      fed.say("1\n", "2\n")
      fed.end()
      assert.deepEqual(await Promise.all([all(first), all(second)]), ["1\n2\n", "1\n2\n"])
    })

    test("resuming gives null for what has ended, and undefined for what never was", async () => {
      const id = fresh()
      const fed = source()
      const first = await here.createNewResumableStream(id, fed.make)
      fed.say("1\n", "2\n")
      fed.end()
      assert.equal(await all(first), "1\n2\n")
      assert.equal(await there.resumeExistingStream(id), null)
      assert.equal(await there.resumeExistingStream(fresh()), undefined)
    })
  })
}

describe("beyond", () => {
  let url, here
  beforeAll(() =>
    shared(async (after) => {
      url = await gateway(after)
      here = createResumableStreamContext({ url, waitUntil: null })
    }),
  )

  test("whoever created it may leave, and waitUntil ends with the stream", async () => {
    const id = fresh()
    const fed = source()
    const kept = []
    const context = createResumableStreamContext({ url, waitUntil: (promise) => kept.push(promise) })
    const first = await context.createNewResumableStream(id, fed.make)
    fed.say("1\n")
    await first.cancel()
    const second = await here.resumeExistingStream(id)
    fed.say("2\n")
    fed.end()
    assert.equal(await all(second), "1\n2\n")
    assert.equal(kept.length, 1)
    await kept[0]
    assert.equal(await here.hasExistingStream(id), "DONE")
  })

  test("an error of the source is one for every reader", async () => {
    const id = fresh()
    const fed = source()
    const first = await here.createNewResumableStream(id, fed.make)
    const second = stepwise(await here.resumeExistingStream(id))
    fed.say("1\n")
    assert.equal(await second(2), "1\n")
    fed.fail(new Error("the model is out of words"))
    await assert.rejects(all(first), /out of words/)
    await assert.rejects(second(Infinity), (e) => e instanceof LiveError && e.details.verdict.kind === "failed" && /out of words/.test(e.message))
    await assert.rejects(here.createNewResumableStream(fresh(), () => { throw new Error("no model") }), /no model/)
  })

  test("a request to stop cancels the source", async () => {
    const id = fresh()
    const fed = source()
    const first = await here.createNewResumableStream(id, fed.make)
    fed.say("1\n")
    const second = await here.resumeExistingStream(id)
    const answer = await fetch(`${url}/v1/live/${id}/cancel`, { method: "POST", body: JSON.stringify({ reason: "enough" }) })
    assert.deepEqual(await answer.json(), { kind: "cancelled", reason: "enough" })
    assert.deepEqual([await all(first), await all(second)], ["1\n", "1\n"])
    assert.match(fed.cancelled.message, /enough/)
  })

  test("a character that comes in two halves", async () => {
    const id = fresh()
    const fed = source()
    const first = await here.createNewResumableStream(id, fed.make)
    const second = await here.resumeExistingStream(id, 1)
    fed.say("a\ud83d", "\ude00b", "\r\n", "\r", "\ud83d")
    fed.end()
    assert.equal(await all(first), "a😀b\r\n\r\ud83d")
    assert.equal(await all(second), "😀b\r\n\r\ufffd")
  })

  test("a stream that has ended is replayed where that is asked for", async () => {
    const id = fresh()
    const fed = source()
    const again = createResumableStreamContext({ url, waitUntil: null, replayEnded: true })
    const first = await here.createNewResumableStream(id, fed.make)
    fed.say("1\n", "2\n")
    fed.end()
    await all(first)
    assert.equal(await all(await again.resumeExistingStream(id, 2)), "2\n")
    assert.equal(await all(await again.resumableStream(id, fed.make)), "1\n2\n")
    assert.equal(fed.made, 1)
  })

  test("a prefix, a space and names of any kind", async () => {
    const context = createResumableStreamContext({ url: `${url}/`, waitUntil: null, keyPrefix: "chats/ü", space: "other" })
    const fed = source()
    const first = await context.createNewResumableStream("a/b?c#d", fed.make)
    assert.equal(await context.hasExistingStream("a/b?c#d"), true)
    assert.equal(await here.hasExistingStream("a/b?c#d"), null)
    fed.say("1\n")
    fed.end()
    assert.equal(await all(first), "1\n")
    const status = await fetch(`${url}/v1/live/${encodeURIComponent("chats/ü:a/b?c#d")}/status?space=other`)
    assert.equal(status.status, 200)
  })

  test("a second producer takes over, and the first reader reads on", async () => {
    const id = fresh()
    const [one, two] = [source(), source()]
    const errors = []
    const context = createResumableStreamContext({ url, waitUntil: null, onError: (error) => errors.push(error.code) })
    const first = stepwise(await context.createNewResumableStream(id, one.make))
    const second = await here.createNewResumableStream(id, two.make)
    one.say("1\n")
    assert.equal(await first(2), "1\n")
    two.say("2\n")
    two.end()
    one.end()
    assert.equal(await first(Infinity), "1\n")
    assert.equal(await all(second), "2\n")
    assert.deepEqual(errors, ["fenced"])
  })

  test("no gateway is an error in time", async () => {
    const away = await proxy(onTestFinished, url, () => 503)
    const context = createResumableStreamContext({ url: away, waitUntil: null, timeout: 400 })
    const fed = source()
    await assert.rejects(context.resumableStream(fresh(), fed.make), /no gateway answered within 400 ms/)
    await assert.rejects(context.hasExistingStream(fresh()), /no gateway/)
    assert.equal(fed.made, 0)
    assert.throws(() => createResumableStreamContext({ url: "hub:8080", waitUntil: null }), /STREAMHUB_SERVER/)
  })
})
