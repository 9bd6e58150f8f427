import { MockLanguageModelV4 } from "ai/test"

const text = `You may refresh this page, open it at the other server, or kill the gateway that it reads from: the answer goes on where it
was, because it is kept outside of the process that makes it. `.replaceAll("\n", " ").repeat(8)

/** What stands in for a language model: it says words, one after the other, and stops when it is told. */
export function model(pause = Number(process.env.PAUSE ?? 80)) {
  return new MockLanguageModelV4({
    doStream: async ({ abortSignal }) => ({ stream: ReadableStream.from(parts(text.split(/(?<=\s)/), pause, abortSignal)) }),
  })
}

async function* parts(words, pause, signal) {
  yield { type: "stream-start", warnings: [] }
  yield { type: "text-start", id: "0" }
  for (const delta of words) {
    yield { type: "text-delta", id: "0", delta }
    await new Promise((resolve) => setTimeout(resolve, pause))
    signal?.throwIfAborted()
  }
  yield { type: "text-end", id: "0" }
  yield {
    type: "finish",
    finishReason: { unified: "stop", raw: undefined },
    usage: { inputTokens: { total: 1 }, outputTokens: { total: words.length, text: words.length } },
  }
}
