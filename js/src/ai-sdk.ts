import { openContext, type CreateResumableStreamContextOptions } from "./text.js"

export interface ChatStreamsOptions extends Omit<CreateResumableStreamContextOptions, "waitUntil"> {
  /** Keeps the program alive until a promise resolves, such as after of Next.js; nothing by default. */
  waitUntil?: CreateResumableStreamContextOptions["waitUntil"]
}

/** The answers of chats, each as one live stream whose id is that of the chat. */
export interface ChatStreams {
  /**
   * Keeps an answer while it is made, in the place of an earlier one of the chat; it is for
   * consumeSseStream of the AI SDK. onStop hears that a stop button was pressed: have it abort the
   * model. It resolves when the answer is being kept, and never rejects: onError hears why it is not.
   */
  keep(chatId: string, stream: ReadableStream<string>, options?: { onStop?: (reason: string) => void }): Promise<void>
  /** Answers GET {api}/{chatId}/stream: the answer that is being made, from its start, or 204. */
  resume(chatId: string): Promise<Response>
  /** Answers a stop button, at any process: 204, or 404 for a chat that has no answer. */
  stop(chatId: string, reason?: string): Promise<Response>
}

/** The headers of a stream of messages of the AI SDK. */
const headers = {
  "Content-Type": "text/event-stream",
  "Cache-Control": "no-cache",
  Connection: "keep-alive",
  "X-Accel-Buffering": "no",
  "X-Vercel-AI-UI-Message-Stream": "v1",
}

/** Makes what the routes of a chat need that is built with the AI SDK. */
export function createChatStreams(options: ChatStreamsOptions): ChatStreams {
  const context = openContext({ ...options, waitUntil: options.waitUntil ?? null })
  return {
    async keep(chatId, stream, { onStop } = {}) {
      try {
        const how = { takeover: true, ...(onStop && { onStop: (_: string, reason: string) => onStop(reason) }) }
        const own = await context.create(chatId, () => stream, how)
        await own.cancel() // it is kept for others
      } catch (error) {
        options.onError?.(error, chatId)
        await stream.cancel(error).catch(() => {})
      }
    },
    async resume(chatId) {
      const stream = await context.resumeExistingStream(chatId)
      return stream ? new Response(stream.pipeThrough(new TextEncoderStream()), { headers }) : new Response(null, { status: 204 })
    },
    async stop(chatId, reason = "stopped by the user") {
      return new Response(null, { status: (await context.stop(chatId, reason)) ? 204 : 404 })
    },
  }
}
