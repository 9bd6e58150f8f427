package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// instructionRows count what the server executes for an append, by callgrind: instructions do not depend on what else the
// machine does. They repeat to about one per cent.
func instructionRows() []row {
	const unit = "instructions/append"
	pipelined := contestant{"go-redis XADD, pipelines of 100", instructions(pipelinedXadd(1, 100)), target{}}
	return []row{
		{
			name: "instructions of Redis, one caller", unit: unit, counted: true,
			contestants: []contestant{
				{handWritten, instructions(latencyOf(oneScript)), target{}},
				{"streamhub", instructions(latencyOf(oneAppend)), atMost(85_000)},
				pipelined,
			},
		},
		{
			name: "instructions of Redis, 32 frames a call", unit: unit, counted: true,
			contestants: []contestant{
				pipelined,
				{"streamhub", instructions(appendAll(1, 32)), atMost(36_000)},
				{handWritten + ", pipelines of 100", instructions(pipelinedScript(100, 100)), target{}},
			},
		},
		{
			name: "instructions of Redis, 64 spaces of one segment a call", unit: unit, counted: true,
			contestants: []contestant{pipelined, {"streamhub", instructions(appendAll(64, 64)), target{}}},
		},
		{
			name: "instructions of Redis, first append of a process to a segment", unit: unit, counted: true,
			contestants: []contestant{
				{"a later append of a process", instructions(latencyOf(oneAppend)), target{}},
				{"streamhub, the first of a process to a segment", instructions(firstAppends(2000)), target{}},
			},
		},
	}
}

// instructions makes the instructions of the server for each operation the figure of a turn.
func instructions(open opening) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		t, done, err := open(ctx, b)
		return func(ctx context.Context) (sample, error) {
			if _, err := b.dump(ctx); err != nil {
				return sample{}, err
			}
			s, err := t(ctx)
			if err != nil {
				return sample{}, err
			}
			sum, err := b.dump(ctx)
			return sample{Figure: float64(sum) / s.ops}, err
		}, done, err
	}
}

// count has the server run under callgrind, whose dumps go to a folder of their own.
func (b *bed) count(row string) error {
	dir := b.dir
	if *kept != "" {
		dir = filepath.Join(*kept, strings.ReplaceAll(row, " ", "-"))
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // it is for people
			return err
		}
	}
	b.dumps = filepath.Join(dir, "out")
	b.under = []string{"valgrind", "--tool=callgrind", "--callgrind-out-file=" + b.dumps, "-q"}
	return nil
}

// dump returns how many instructions the server has executed since the last dump.
func (b *bed) dump(ctx context.Context) (int, error) {
	text, err := exec.CommandContext(ctx, "callgrind_control", "-d", strconv.Itoa(b.servers[0].cmd.Process.Pid)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("callgrind_control: %w: %s", err, text)
	}
	b.dumped++
	out, err := os.ReadFile(b.dumps + "." + strconv.Itoa(b.dumped))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(out)) {
		if sum, ok := strings.CutPrefix(line, "totals:"); ok {
			return strconv.Atoi(strings.TrimSpace(sum))
		}
	}
	return 0, errors.New("the dump of callgrind has no totals")
}
