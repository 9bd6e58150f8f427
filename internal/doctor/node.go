package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

const (
	clockTolerance  = time.Second
	highWater       = 80 // per cent of maxmemory
	fullWater       = 95
	fragmentedBytes = 64 << 20 // less fragmentation than this is not reported
)

// patched are the first releases of each line without CVE-2025-49844, by which a script runs code
// of its own on the server.
var patched = map[string]map[[2]int]int{
	"Redis":  {{6, 2}: 20, {7, 2}: 11, {7, 4}: 6, {8, 0}: 4, {8, 2}: 2},
	"Valkey": {{7, 2}: 11, {8, 0}: 6, {8, 1}: 4},
}

// distributed are releases that a distribution repairs without another number.
var distributed = map[string]string{"Redis 7.0.15": "Debian 12", "Redis 8.0.2": "Debian 13", "Valkey 8.1.1": "Debian 13"}

// version finds releases that a hub does not run on, and those with known holes. Scripts need Redis
// 7.0 for their flags.
func version(_ context.Context, n *node) Check {
	product, text := redisx.ProductOf(n.info)
	c := Check{Level: OK, Name: "version", Detail: product + " " + text}
	var major, minor, patch int
	if _, err := fmt.Sscanf(text, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return unknown(c.Name)
	}
	fixed, known := patched[product][[2]int{major, minor}]
	distribution := distributed[c.Detail]
	switch {
	case product == "KeyDB":
		c.Level, c.Cure = Fail, "KeyDB does not know the flags of scripts: use Redis 7.0 or later, or Valkey"
	case product == "Dragonfly":
		c.Level, c.Cure = Fail, "Dragonfly runs no INFO in scripts, by which a hub notices a failover: use Redis 7.0 or later, or Valkey"
	case product == "Redict":
		c.Level, c.Cure = Warn, "streamhub is not tested with Redict; keep to its newest release"
	case major < 7:
		c.Level, c.Cure = Fail, "streamhub needs Redis 7.0 or later, or Valkey"
	case known && patch < fixed:
		c.Level = Warn
		c.Cure = fmt.Sprintf("it has known holes, such as CVE-2025-49844 in its scripts: upgrade to %d.%d.%d or later", major, minor, fixed)
		if distribution != "" {
			c.Cure += "; " + distribution + " repairs this release without another number: there, keep it up to date"
		}
	case product == "Redis" && major == 7 && minor == 0:
		c.Level = Warn
		c.Cure = "this line gets no fixes upstream: keep to a distribution that patches it (Debian 12: 7.0.15-1~deb12u10 or later), or upgrade"
	}
	return c
}

// eviction finds a policy that drops keys of a full Redis: a hub would lose entries and not notice.
func eviction(_ context.Context, n *node) Check {
	policy := n.info["maxmemory_policy"]
	switch policy {
	case "":
		return unknown("eviction")
	case "noeviction":
		return Check{Level: OK, Name: "eviction", Detail: policy}
	}
	return Check{Fail, "eviction", policy + ": a full Redis would drop entries without a word", "CONFIG SET maxmemory-policy noeviction, and in redis.conf"}
}

// persistence tells how much a power cut or a restart loses.
func persistence(ctx context.Context, n *node) Check {
	const name = "persistence"
	switch n.info["aof_enabled"] {
	case "":
		return unknown(name)
	case "0":
		return Check{Warn, name, "no append-only file: a restart loses what was written since the last snapshot, or everything", "CONFIG SET appendonly yes, and in redis.conf"}
	}
	if status := n.info["aof_last_write_status"]; status != "" && status != "ok" {
		return Check{Fail, name, "the last write of the append-only file failed", "make room on the disk of Redis, then look at its log"}
	}
	policy := ""
	if values, err := n.client.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		policy = values["appendfsync"]
	}
	switch policy {
	case "no":
		return Check{Warn, name, "append-only file, synced when the system likes: a power cut loses up to half a minute", "CONFIG SET appendfsync everysec, and in redis.conf"}
	case "everysec":
		detail := "append-only file, synced every second: a power cut loses about one"
		product, own := redisx.ProductOf(n.info)
		if (&redisx.Server{Product: product, Version: own}).CheckFsync(policy) != nil {
			detail += "; durability with fsync is refused, because WAITAOF does not wait for the disk here: appendfsync always gives it"
		}
		return Check{Level: OK, Name: name, Detail: detail}
	case "always":
		return Check{Level: OK, Name: name, Detail: "append-only file, synced before every answer"}
	}
	return Check{Level: OK, Name: name, Detail: "append-only file; the server does not tell how often it is synced (+config|get)"}
}

// replication finds a replica, which takes no writes, and a primary with a replica that is not in
// step. INFO names replicas from slave0 on.
func replication(_ context.Context, n *node) Check {
	const name = "replication"
	switch role := n.info["role"]; role {
	case "":
		return unknown(name)
	case "master":
	default:
		return Check{Fail, name, "this server is a replica (" + role + ") and takes no appends",
			"use the URL of the primary, redis+sentinel:// or redis+cluster://"}
	}
	replicas := n.info["connected_slaves"]
	for i := range 64 {
		line := n.info["slave"+strconv.Itoa(i)]
		if line != "" && !strings.Contains(line, "state=online") {
			return Check{Warn, name, "primary; a replica is not in step: " + line, "look at the log of the replica"}
		}
	}
	detail := "primary with " + replicas + " replicas"
	if replicas == "0" {
		detail = "primary without replicas: when it is down the hub is"
	}
	return Check{Level: OK, Name: name, Detail: detail}
}

// clock compares the clock of the server with that of this machine. Half of the round trip is taken
// off, and the whole of it is tolerated besides.
func clock(ctx context.Context, n *node) Check {
	const name = "clock"
	sent := time.Now()
	theirs, err := n.client.Time(ctx).Result()
	if err != nil {
		return Check{Fail, name, err.Error(), "the user of the hub needs +time"}
	}
	trip := time.Since(sent)
	off := theirs.Sub(sent.Add(trip / 2)).Round(time.Millisecond)
	c := Check{Level: OK, Name: name, Detail: fmt.Sprintf("%v off ours", off)}
	if off.Abs() > clockTolerance+trip {
		c.Level, c.Cure = Warn, "let NTP keep both clocks: timestamps and the lifetime of segments go by the clock of Redis"
	}
	return c
}

// memory tells how full the server is. Without a limit the system kills Redis instead of Redis
// refusing writes.
func memory(_ context.Context, n *node) Check {
	const name = "memory"
	used, err := strconv.ParseFloat(n.info["used_memory"], 64)
	most, err2 := strconv.ParseFloat(n.info["maxmemory"], 64)
	if err != nil || err2 != nil {
		return unknown(name)
	}
	c := Check{Level: OK, Name: name, Detail: size(used) + " used"}
	if most == 0 {
		c.Level = Warn
		c.Detail += ", no limit: the system may kill Redis when memory ends"
		c.Cure = "CONFIG SET maxmemory to about three quarters of the machine's memory, and in redis.conf"
		return c
	}
	part := 100 * used / most
	c.Detail += fmt.Sprintf(" of %s (%.0f %%)", size(most), part)
	fragmentation, _ := strconv.ParseFloat(n.info["mem_fragmentation_ratio"], 64)
	switch {
	case part >= fullWater:
		c.Level, c.Cure = Fail, "appends are refused when it is full: raise maxmemory, or trim or delete segments"
	case part >= highWater:
		c.Level, c.Cure = Warn, "raise maxmemory before it is full, or trim or delete segments"
	case fragmentation > 1.5 && used > fragmentedBytes:
		c.Level = Warn
		c.Detail += fmt.Sprintf(", fragmentation %.1f", fragmentation)
		c.Cure = "CONFIG SET activedefrag yes"
	}
	return c
}

// streams tells what a segment takes at least: Redis gives each stream a node of that size at once.
func streams(ctx context.Context, n *node) Check {
	const name, setting = "streams", "stream-node-max-bytes"
	values, err := n.client.ConfigGet(ctx, setting).Result()
	bytes, parseErr := strconv.Atoi(values[setting])
	switch {
	case err != nil || parseErr != nil:
		return Check{Level: OK, Name: name, Detail: "the server does not tell the size of their nodes (+config|get)"}
	case bytes > 2048 || bytes == 0:
		return Check{Level: OK, Name: name, Detail: fmt.Sprintf("nodes of %d bytes, of which each segment has one at once; "+
			"for many small segments CONFIG SET stream-node-max-bytes 2048, and in redis.conf, saves 2 KB each", bytes)}
	case bytes < 2048:
		return Check{Level: OK, Name: name, Detail: fmt.Sprintf("nodes of %d bytes: small segments take little, and entries of long ones more than with 2048", bytes)}
	}
	return Check{Level: OK, Name: name, Detail: "nodes of 2048 bytes: right for segments of any size"}
}

// size writes bytes for people.
func size(bytes float64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if bytes < 1024 {
			return fmt.Sprintf("%.0f %s", bytes, unit)
		}
		bytes /= 1024
	}
	return fmt.Sprintf("%.1f GiB", bytes)
}
