package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// yesFlag is the flag of commands that remove data for good.
type yesFlag struct {
	Yes bool `short:"y" help:"Do it without asking. Without a terminal to ask on, this has to be given."`
}

// confirm asks the user to confirm the described action. It returns an error unless the user agrees.
func (f *yesFlag) confirm(s *session, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if f.Yes {
		return nil
	}
	if !isTerminal(s.stdin) || !isTerminal(s.stderr) {
		return usagef("this would %s, and there is no terminal to ask on: pass --yes", what)
	}
	return yes(s.ctx, s.stdin, s.stderr, what)
}

// yes writes the question to out and reads the answer from in. Any answer but yes means no.
func yes(ctx context.Context, in io.Reader, out io.Writer, what string) error {
	fmt.Fprintf(out, "streamhub: this will %s. Go on? [y/N] ", what)
	line, err := readLine(ctx, in)
	if err != nil {
		fmt.Fprintln(out)
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return failedf("nothing was done")
}

// maxLine bounds a line of standard input.
const maxLine = 64 << 10

// readLine reads a line, or the rest of the input. If ctx ends first, the error is its cause.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	var line string
	read := make(chan error, 1)
	go func() { // a read from a terminal cannot be cancelled; the goroutine ends with the process
		text, err := bufio.NewReader(io.LimitReader(in, maxLine)).ReadString('\n')
		line = text
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil && !errors.Is(err, io.EOF) {
			return "", failedf("standard input: %w", err)
		}
		return line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
