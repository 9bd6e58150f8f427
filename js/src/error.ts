/** How a generation of a live stream ended. It is written once. */
export interface Verdict {
  kind: "done" | "failed" | "cancelled" | "lost" | "superseded" | "expired" | "deleted"
  reason?: string
  output?: unknown
}

/** A refusal that asking again does not cure. */
export class LiveError extends Error {
  /**
   * @param code what docs/live.md names: not_found, history_lost, invalid_cursor, unauthenticated,
   * permission_denied, already_produced, fenced, closed, gap, …
   * @param details what else the gateway said: next, generation, verdict, by, since
   */
  constructor(
    readonly code: string,
    message: string,
    readonly details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message)
    this.name = "LiveError"
  }
}
