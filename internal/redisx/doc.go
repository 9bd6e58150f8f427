// Package redisx is how the packages of the hub talk to Redis: scripts that the driver never
// sends twice, what the server at hand can do, and one table that says which error means that
// nothing happened.
//
// # Scripts
//
// A [Script] is loaded from a file beside the code that calls it. On a real Redis it starts with
// "#!lua", so a full, read-only or loading server refuses it before its first line; miniredis
// knows no such line, and gets none. Every script can call reign(), which returns the lineage
// of the server.
//
// # Repeats
//
// go-redis re-sends a command whose reply was lost, and a script that ran twice has written
// twice. Commands made here say NoRetry, which is what stops every client of the driver. A lost
// reply is reported as such ([Outcome]) and the caller decides.
package redisx
