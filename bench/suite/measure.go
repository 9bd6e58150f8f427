package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A row compares contestants: the first is the raw thing, the second streamhub, others are rivals.
type row struct {
	name string
	unit string // of the figure of a turn
	// once says that a turn has nothing to do with time, so that more rounds would say nothing new.
	once bool
	// awake has another process keep the cores awake: out of idle each wake-up costs more than what is measured.
	awake bool
	// counted has the server run under callgrind.
	counted     bool
	contestants []contestant
}

// A target bounds a value; zero is no bound.
type target struct {
	least, most float64
}

func atLeast(v float64) target { return target{least: v} }
func atMost(v float64) target  { return target{most: v} }

func (t target) String() string {
	switch {
	case t.least > 0:
		return "≥ " + grouped(t.least)
	case t.most > 0:
		return "≤ " + grouped(t.most)
	}
	return ""
}

func (t target) holds(ratio float64) bool {
	return (t.least == 0 || ratio >= t.least) && (t.most == 0 || ratio <= t.most)
}

// A contestant opens what it needs once. The target of a rival bounds the ratio of streamhub's figure to the
// rival's; the target of streamhub bounds its own figure.
type contestant struct {
	name   string
	open   opening
	target target
}

// An opening returns the turn that is measured in every round, and what ends the contestant.
type opening = func(ctx context.Context, b *bed) (turn turn, close func() error, err error)

type turn = func(context.Context) (sample, error)

// afresh opens and ends a contestant in every round, where all of them at once would have too many files.
func afresh(open opening) opening {
	return func(_ context.Context, b *bed) (turn, func() error, error) {
		return func(ctx context.Context) (s sample, err error) {
			t, done, err := open(ctx, b)
			if done != nil {
				defer func() { err = errors.Join(err, done()) }()
			}
			if err != nil {
				return sample{}, err
			}
			return t(ctx)
		}, nil, nil
	}
}

// A sample is the outcome of one turn. CPU is in microseconds an operation; that of redis and of
// the process whose part is measured.
type sample struct {
	ops     float64 // that were done, where the figure depends on that
	Figure  float64 `json:"figure"`
	Redis   float64 `json:"redis_cpu_us,omitempty"`
	Process float64 `json:"process_cpu_us,omitempty"`
}

// A standing is what one contestant did: medians, and each round as it was.
type standing struct {
	Name string `json:"name"`
	sample
	Rounds []float64 `json:"rounds"`
	// Ratio is the median of streamhub's figure over this one's in the same round.
	Ratio  float64 `json:"streamhub_over_it,omitempty"`
	Target string  `json:"target,omitempty"`
	Holds  bool    `json:"holds"`
	// Noisy says that a round was off by more than a quarter of the median.
	Noisy bool `json:"noisy"`
}

// A result is a row as measured.
type result struct {
	Row         string     `json:"row"`
	Unit        string     `json:"unit"`
	Contestants []standing `json:"contestants"`
}

const ours = 1 // streamhub's place among the contestants

func measure(ctx context.Context, b *bed, r *row) (_ *result, err error) {
	if r.awake {
		p, err := spawn(ctx, "spin")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
	}
	turns := make([]turn, len(r.contestants))
	for i, c := range r.contestants {
		turn, done, openErr := c.open(ctx, b)
		if done != nil {
			defer func() { err = errors.Join(err, done()) }()
		}
		if openErr != nil {
			return nil, fmt.Errorf("%s: %w", c.name, openErr)
		}
		turns[i] = turn
	}
	count := *rounds
	if r.once {
		count = 1
	}
	samples := make([][]sample, len(turns))
	for range count {
		for i, turn := range turns {
			s, err := turn(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.contestants[i].name, err)
			}
			samples[i] = append(samples[i], s)
		}
	}
	out := &result{Row: r.name, Unit: r.unit}
	for i, c := range r.contestants {
		s := standing{Name: c.name, sample: middle(samples[i]), Target: c.target.String()}
		ratios := make([]float64, count)
		for n := range samples[i] {
			figure := samples[i][n].Figure
			s.Rounds = append(s.Rounds, figure)
			s.Noisy = s.Noisy || figure > 1.25*s.Figure || figure < 0.75*s.Figure
			ratios[n] = samples[ours][n].Figure / figure
		}
		if i == ours {
			s.Holds = c.target.holds(s.Figure)
		} else {
			s.Ratio = median(ratios)
			s.Holds = c.target.holds(s.Ratio)
		}
		out.Contestants = append(out.Contestants, s)
	}
	return out, nil
}

func middle(samples []sample) sample {
	of := func(field func(sample) float64) float64 {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = field(s)
		}
		return median(values)
	}
	return sample{
		Figure:  of(func(s sample) float64 { return s.Figure }),
		Redis:   of(func(s sample) float64 { return s.Redis }),
		Process: of(func(s sample) float64 { return s.Process }),
	}
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// percentile sorts the times.
func percentile(times []time.Duration, p float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(len(times)-1, int(p*float64(len(times))))]
}

func (r *result) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (%s)\n", r.Row, r.Unit)
	t := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	fmt.Fprintln(t, "\tmedian\tRedis µs/op\tprocess µs/op\tstreamhub is\ttarget\t\trounds")
	for _, s := range r.Contestants {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t",
			s.Name, grouped(s.Figure), used(s.Redis), used(s.Process), s.ratio(), s.Target, s.verdict(""))
		for _, figure := range s.Rounds {
			fmt.Fprint(t, grouped(figure), " ")
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
}
