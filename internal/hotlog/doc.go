// Package hotlog keeps the hot log of segments in Redis.
//
// Most programs use package hub instead.
//
// # Sequences
//
// The entries of a segment are numbered 1, 2, 3, … without gaps. So a reader that remembers the
// last sequence it handled resumes there, and can tell a lost entry from a slow one. The order over
// all segments of a space is its timeline: the order in which Redis took the appends.
//
// # Appends
//
// An append is one step of one script: it is checked against the state of the segment and then
// written whole, with its place in the timeline and its notifications, or refused whole. Appends
// that are made at the same time travel together; one that is alone leaves at once. Each has an
// identity, its caller's producer or this process's own, so the append that is sent again after a
// lost reply is stored once.
//
// # Reads
//
// A read takes the head of the segment and a page of frames, both as they are, without a script.
// Frames never change and their key holds the incarnation, so the two need not be read together.
// A read that starts after a cursor proves that the entry there is still the one it was.
//
// # Errors
//
// Every method returns a [streamhub.Error] around one of the sentinels of package streamhub, or
// the error of its context.
package hotlog
