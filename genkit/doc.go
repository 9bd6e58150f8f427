// Package genkit keeps the durable streams of Genkit flows on a streamhub hub. Any instance replays
// a stream and follows it live, with any number of chunks and readers of any speed. A stream whose
// process has died ends with an error.
//
//	streams := hubgenkit.NewStreamManager(store.Live("genkit"), nil)
//	mux.Handle("POST /flow", genkit.Handler(flow, genkit.WithStreamManager(streams)))
//
// With [NewHandler] instead of genkit.Handler clients resume where they were (id: lines and
// Last-Event-ID), connections are kept open with heartbeats, streams belong to who began them, and
// a flow can be stopped.
//
// Chunks and outputs are given back byte for byte. Those that one record cannot hold, and outputs that
// JSON in a verdict would change, are stored in parts: live chunks that begin with the byte 0x1e, as no
// JSON does. [StreamManager.Subscribe] puts them together; readers of the live stream itself see them.
//
// It implements the experimental interfaces of github.com/firebase/genkit/go/core/x/streaming as of
// v1.4.0. Errors of the manager are those that its users assert, unwrapped:
// *core.UserFacingError. The error of a flow keeps its kind, status, details and text.
package genkit
