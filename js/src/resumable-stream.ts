import { openContext, type CreateResumableStreamContextOptions, type ResumableStreamContext } from "./text.js"

export type { CreateResumableStreamContextOptions, ResumableStreamContext }

/**
 * Makes what the npm package resumable-stream makes, on a gateway of streamhub instead of Redis. A
 * reader resumes at any process; it ends when the producer's process has died; an error of the source
 * is an error for every reader; and POST /v1/live/{streamId}/cancel cancels the source.
 */
export function createResumableStreamContext(options: CreateResumableStreamContextOptions): ResumableStreamContext {
  return openContext(options)
}
