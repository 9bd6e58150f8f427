// Package streamkit holds the exported Go API of fgrzl/streamkit v1, over package client. A program changes its import
// lines and nothing else:
//
//	github.com/fgrzl/streamkit/pkg/client   →  …/client/streamkit/client
//	github.com/fgrzl/streamkit/pkg/api      →  …/client/streamkit/api
//
// Package wskit reaches a hub through a gateway, inprockit reaches a hub in the same process, and eskit stores
// aggregates. A node manager of streamkit is a hub here.
//
// docs/migrating.md says what each name maps to and what differs. New programs use package client.
package streamkit
