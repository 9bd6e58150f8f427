// Package streamkit holds the exported Go API of fgrzl/streamkit v1, over package client. A program
// changes its import lines and nothing else:
//
//	github.com/fgrzl/streamkit/pkg/client   →  …/client/streamkit/client
//	github.com/fgrzl/streamkit/pkg/api      →  …/client/streamkit/api
//
// Package wskit reaches a hub through a gateway, inprockit one in the same process, and eskit keeps aggregates. Names of what
// streamkit called a node manager stand for a hub here.
//
// docs/migrating.md says what each name maps to and what differs. New programs use package client.
package streamkit
