package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress shows on standard error how far a command is. The nil progress shows nothing.
type progress struct{ bar *progressbar.ProgressBar }

// progress starts a progress bar if wanted is set and standard error is a terminal. total is -1 if it is unknown.
func (s *session) progress(wanted bool, what string, total int64) *progress {
	if !wanted || !isTerminal(s.stderr) {
		return nil
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(s.stderr),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionFullWidth(),
		progressbar.OptionSetDescription(what),
	}
	if what == "bytes" {
		options = append(options, progressbar.OptionShowBytes(true))
	} else {
		options = append(options, progressbar.OptionShowIts(), progressbar.OptionSetItsString(what))
	}
	return &progress{progressbar.NewOptions64(total, options...)}
}

func (p *progress) add(n int64) {
	if p != nil {
		_ = p.bar.Add64(n)
	}
}

// describe replaces the text before the count.
func (p *progress) describe(what string) {
	if p != nil {
		p.bar.Describe(what)
	}
}

// finish removes the progress bar.
func (p *progress) finish() {
	if p != nil {
		_ = p.bar.Finish()
	}
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
