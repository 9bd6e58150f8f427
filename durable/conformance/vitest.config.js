import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["*.test.js"],
    testTimeout: 20_000,
    // A test that is retried until it passes is no proof.
    retry: 0,
  },
})
