export { LiveError, type Verdict } from "./error.js"
export { readLive, type Chunk, type LiveReader, type ReadOptions, type ReadState } from "./read.js"
export { produceLive, type LiveProducer, type ProduceOptions } from "./produce.js"
