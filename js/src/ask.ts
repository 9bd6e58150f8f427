import type { RequestOptions } from "./request.js"
import { request, withAction } from "./request.js"

export interface CancelOptions extends RequestOptions {
  /** The generation to stop, as LiveReader has it; the one in force by default. An earlier one has ended: nothing stops. */
  generation?: number | undefined
  /** Goes to the producer and into the verdict. */
  reason?: string | undefined
}

export interface SendOptions extends RequestOptions {
  /** The generation that the message is for, as LiveReader has it; the one in force by default. */
  generation?: number | undefined
  /** A name that all answers to one question share: the first one counts, another one rejects with conflict. */
  once?: string | undefined
}

/**
 * Asks the producer of a live stream to stop. It resolves when that is stored; the verdict comes with the stream. It makes
 * one request, which is safe to repeat.
 */
export async function cancelLive(url: string | URL, { reason, ...options }: CancelOptions = {}): Promise<void> {
  await post(url, "/cancel?wait=0", JSON.stringify({ reason }), options)
}

/**
 * Sends a message to the producer of a live stream. It resolves when that is stored. It makes one request; with once that
 * is safe to repeat.
 */
export async function sendMessage(url: string | URL, message: string | Uint8Array, { once, ...options }: SendOptions = {}): Promise<void> {
  await post(url, `/messages?${once === undefined ? "" : `once=${encodeURIComponent(once)}`}`, message, options)
}

async function post(url: string | URL, action: string, body: string | Uint8Array, { generation, ...options }: SendOptions): Promise<void> {
  if (generation !== undefined) action += `&generation=${generation}`
  await request(withAction(String(url), action), options, { method: "POST", body: body as BodyInit })
}
