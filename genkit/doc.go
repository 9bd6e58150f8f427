// Package genkit keeps the durable streams of Genkit flows on a streamhub hub. Any instance replays a stream and
// follows it live, with any number of chunks and readers of any speed. A stream whose process has died ends with an
// error.
//
//	streams := hubgenkit.NewStreamManager(store.Live("genkit"), nil)
//	mux.Handle("POST /flow", genkit.Handler(flow, genkit.WithStreamManager(streams)))
//
// With [NewHandler] instead of genkit.Handler clients resume where they were (id: lines and Last-Event-ID), connections
// are kept open with heartbeats, streams belong to the user that began them, and a flow can be stopped.
//
// Readers get chunks and outputs back byte for byte. A chunk or output that is too large for one record, and an output
// that JSON in a verdict would change, is stored in parts. A part is a live chunk that begins with the byte 0x1e, as no
// JSON does. [StreamManager.Subscribe] joins the parts; readers of the live stream itself see them.
//
// It implements the experimental interfaces of github.com/firebase/genkit/go/core/x/streaming as of v1.4.0. The manager
// returns *core.UserFacingError unwrapped, because users of Genkit use type assertions. The error of a flow keeps its
// kind, status, details and text.
package genkit
