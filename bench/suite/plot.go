package main

import (
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// draw makes one plot of the rows where more is better, and one of those where less is: how
// streamhub stands to the raw thing, with a line at 1.
func draw(r *report, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // it is published
		return err
	}
	var rate, cost []result
	for _, row := range r.Results {
		if slices.Contains([]string{"appends/s", "records/s", "entries/s", "MB/s"}, row.Unit) {
			rate = append(rate, row)
		} else {
			cost = append(cost, row)
		}
	}
	return errors.Join(
		bars(rate, "streamhub / raw: throughput, more is better", filepath.Join(dir, "throughput.svg")),
		bars(cost, "streamhub / raw: latency, CPU and memory, less is better", filepath.Join(dir, "cost.svg")),
	)
}

func bars(rows []result, title, file string) error {
	if len(rows) == 0 {
		return nil
	}
	plot.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.Title.Text = title
	p.X.Min = 0
	values, names := make(plotter.Values, len(rows)), make([]string, len(rows))
	for i, row := range rows {
		at := len(rows) - 1 - i // the first on top
		values[at] = row.Contestants[0].Ratio
		// Who looks at it may have a wider font than the one that the room is measured with.
		names[at] = row.Row + strings.Repeat("\u00a0", len(row.Row)/5)
	}
	chart, err := plotter.NewBarChart(values, vg.Points(12))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	chart.Horizontal = true
	chart.Color = color.RGBA{R: 0x2f, G: 0x6f, B: 0xb0, A: 0xff}
	chart.LineStyle.Width = 0
	raw, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: float64(len(rows)) - 0.5}})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	raw.Color = color.RGBA{R: 0xb0, G: 0x30, B: 0x30, A: 0xff}
	p.Add(chart, raw)
	p.NominalY(names...)
	return p.Save(9*vg.Inch, vg.Length(1.2+0.28*float64(len(rows)))*vg.Inch, file)
}
