// What gateways serve at /streamhub.js, which stays below 6 KiB: cancelLive and sendMessage are one fetch each.
export { LiveError } from "./error.js"
export { readLive } from "./read.js"
export { produceLive } from "./produce.js"
