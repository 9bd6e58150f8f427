// Command suite measures streamhub beside the raw thing and beside its rivals: each row has several contestants, which
// take turns in every round, on servers that the program starts for itself. It prints a table as it goes, and writes
// the rows as JSON and the plots of docs/benchmarks.md.
//
//	make bench-all
//	go run ./suite -rows 'append|replay' -rounds 3
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"time"

	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

var (
	rounds = flag.Int("rounds", 5, "rounds of each row, of which the median counts")
	length = flag.Duration("length", time.Second/2, "length of a turn that is measured by time")
	choose = flag.String("rows", "", "regular expression of the rows to run")
	list   = flag.Bool("list", false, "print the names of the rows")
	output = flag.String("json", "", "file for the result as JSON")
	plots  = flag.String("plots", "", "folder for the plots")
	table  = flag.String("table", "", "Markdown file whose table of rows is replaced")
	redraw = flag.String("redraw", "", "measure nothing: write the plots and the table of this result again")
	kept   = flag.String("keep", "", "folder for the dumps of callgrind; each turn has two, and the second one counts")
	served = flag.String("server", "", "path of the server program; by default "+redisbin.Variable+", redis-server or valkey-server")
	child  = flag.String("child", "", "internal: what this process is")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	raiseLimit()
	run := suite
	if *redraw != "" {
		run = func(context.Context) error { return drawAgain(*redraw) }
	}
	if *child != "" {
		run = func(ctx context.Context) error { return runChild(ctx, *child, flag.Args()) }
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
		os.Exit(1)
	}
}

// rows are all that can be measured, in the order of docs/benchmarks.md.
func rows() []row {
	return concat(appendRows(), cpuRows(), batchRows(), readRows(), latencyRows(), fanoutRows(), durableRows(), memoryRows(), growthRows(), instructionRows())
}

func concat(groups ...[]row) (all []row) {
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// A report is what a run of the suite found.
type report struct {
	At      time.Time `json:"at"`
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	Server  string    `json:"server"`
	Rounds  int       `json:"rounds"`
	Results []result  `json:"rows"`
}

// drawAgain publishes what was measured before.
func drawAgain(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	return r.publish()
}

// publish writes what the flags ask for.
func (r *report) publish() error {
	if *plots != "" {
		if err := draw(r, *plots); err != nil {
			return err
		}
	}
	if *table != "" {
		return replaceTable(r, *table)
	}
	return nil
}

func suite(ctx context.Context) error {
	chosen, err := regexp.Compile(*choose)
	if err != nil {
		return err
	}
	r := report{At: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), CPUs: runtime.NumCPU(), Rounds: *rounds}
	if *kept != "" {
		if _, err := os.ReadDir(*kept); err != nil {
			return err
		}
	}
	var failed []error // one row that fails does not cost the others
	_, noCallgrind := exec.LookPath("valgrind")
	for _, row := range rows() {
		if !chosen.MatchString(row.name) {
			continue
		}
		if *list {
			fmt.Println(row.name)
			continue
		}
		if row.counted && noCallgrind != nil {
			fmt.Fprintf(os.Stderr, "suite: %s: left out: install valgrind: %v\n", row.name, noCallgrind)
			continue
		}
		if err := r.add(ctx, &row); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", row.name, err))
		}
		if ctx.Err() != nil {
			return errors.Join(failed...)
		}
	}
	if *list {
		return nil
	}
	if len(r.Results) == 0 {
		return errors.Join(append(failed, errors.New("no row was measured"))...)
	}
	if *output != "" {
		text, err := json.MarshalIndent(r, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*output, append(text, '\n'), 0o644); err != nil { //nolint:gosec // it is published
			return err
		}
	}
	return errors.Join(append(failed, r.publish())...)
}

// add measures a row on a server of its own.
func (r *report) add(ctx context.Context, row *row) (err error) {
	b, err := newBed(ctx, row)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if r.Server, err = b.version(ctx); err != nil {
		return err
	}
	result, err := measure(ctx, b, row)
	if err != nil {
		return err
	}
	result.print(os.Stdout)
	r.Results = append(r.Results, *result)
	return nil
}
