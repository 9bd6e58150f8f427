import { runConformanceTests } from "@durable-streams/server-conformance-tests"
import { describe } from "vitest"

describe("durable streams", () => {
  runConformanceTests({ baseUrl: process.env.CONFORMANCE_URL, subscriptions: true })
})
