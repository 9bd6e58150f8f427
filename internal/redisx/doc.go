// Package redisx is the layer between the packages of the hub and the Redis driver. It has scripts that the driver
// never sends twice, the features of the server, and the one table of the errors after which nothing has happened.
//
// # Scripts
//
// A [Script] is loaded from a file beside the code that calls it. On a real Redis it starts with "#!lua", so a full,
// read-only or loading server refuses it before its first line; miniredis does not know this line and gets none. Every
// script can call reign(), which returns the lineage of the server.
//
// # Repeats
//
// go-redis re-sends a command whose reply was lost, so a script could write twice. Commands of this package implement
// NoRetry, which stops every client of the driver from doing so. A lost reply is reported as such ([Outcome]), and the
// caller decides.
package redisx
