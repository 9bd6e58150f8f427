// Package demo is what streamhub demo shows: one answer that is read in two panes, each at a gateway of
// its own, while whatever stands behind it is killed, cut, paused and restarted from the page.
//
// The gateways are processes of this program and the Redis is a redis-server, where there is one. What
// lies between them and the page is a proxy as any other: it answers 503 when no gateway is there.
package demo
