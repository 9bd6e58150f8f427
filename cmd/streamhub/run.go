package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/instance"
)

// The exit codes. Scripts rely on them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitConflict    = 3
	exitHistory     = 4
	exitInterrupted = 130
)

// commands defines the command line for the parser.
type commands struct {
	Serve   serveCmd   `cmd:"" help:"Start a hub: on an embedded Redis that keeps nothing, on a Redis of its own (--data), or on one that runs (--redis)."`
	Demo    demoCmd    `cmd:"" help:"Show in a browser how an answer survives whatever is killed: two gateways, a Redis, and buttons."`
	Append  appendCmd  `cmd:"" help:"Append lines from standard input or a file to a segment."`
	Read    readCmd    `cmd:"" help:"Write the entries of a segment or of a space to standard output."`
	Watch   watchCmd   `cmd:"" help:"Write the status of a segment, or of every segment of a space, whenever it changes."`
	Ls      lsCmd      `cmd:"" help:"List the spaces, or the segments of a space."`
	Peek    peekCmd    `cmd:"" help:"Write the last entry of a segment."`
	Status  statusCmd  `cmd:"" help:"Write the status of a segment."`
	Create  createCmd  `cmd:"" help:"Create a segment without entries."`
	Fork    forkCmd    `cmd:"" help:"Create a segment that begins with the entries of another one."`
	Trim    trimCmd    `cmd:"" help:"Remove the first entries of a segment."`
	Close   closeCmd   `cmd:"" help:"End a segment with a verdict: it is read as before and takes nothing more."`
	Expire  expireCmd  `cmd:"" help:"Let a segment be deleted after a time, whatever it was created with."`
	Delete  deleteCmd  `cmd:"" help:"Delete a segment, every segment of a space, or every segment of a store."`
	Lease   leaseCmd   `cmd:"" help:"Run a command while holding a lease, or list the leases that are held."`
	Workers workersCmd `cmd:"" help:"List the workers of a store that are there."`
	Live    liveCmd    `cmd:"" help:"Produce, read and stop live streams."`
	Token   tokenCmd   `cmd:"" help:"Make and check the tokens of a gateway, for development and to find out why one is refused."`

	Subscriptions subscriptionsCmd `cmd:"" help:"Look at the subscriptions of Durable Streams, and end them."`
	Top           topCmd           `cmd:"" help:"Show Redis, what is wrong with it, and the instances, again and again. It wants the same rights as instances."`
	Instances     instancesCmd     `cmd:"" help:"List the processes that serve the same Redis. A gateway wants a token for streamhub::*::*::read, or, at its admin address, the admin token."`

	Import  importCmd  `cmd:"" help:"Bring the data of a running streamkit server into a hub, entry by entry; a run that was killed is started again."`
	Archive archiveCmd `cmd:"" help:"Move cold history out of Redis, look at it, bring it back."`
	Doctor  doctorCmd  `cmd:"" help:"Check a Redis and name every mismatch with its cure."`
	Bench   benchCmd   `cmd:"" help:"Put load on a hub, on segments that are deleted afterwards, and say how long things took."`

	Config     configCmd     `cmd:"" help:"Check and show what environment variables and the file of --config say."`
	VersionCmd versionCmd    `cmd:"" name:"version" help:"Write the version."`
	Help       helpCmd       `cmd:"" help:"Explain a command."`
	Completion completionCmd `cmd:"" help:"Write what lets a shell complete commands and flags."`
	Complete   completeCmd   `cmd:"" hidden:""`

	Version versionFlag `help:"Write the version and end."`
	Path    string      `name:"config" placeholder:"FILE" help:"YAML file with values of flags that are neither given nor in a variable."`
}

// A session is one run of the program: its context, streams, environment and parsed arguments.
type session struct {
	ctx    context.Context
	stdin  io.Reader
	stdout output
	stderr io.Writer
	env    []string
	call   *kong.Context        // the command line, once it is read
	meters metric.MeterProvider // records the commands to Redis; nil for none
}

// given reports whether a flag was given as an argument, not by a variable or a file.
func (s *session) given(flag string) bool { return s.call != nil && given(s.call, flag) }

// needs refuses flags that are given and have no effect, because another one is missing.
func (s *session) needs(missing string, flags ...string) error {
	for _, flag := range flags {
		if s.given(flag) {
			return usagef("--%s goes with --%s", flag, missing)
		}
	}
	return nil
}

func given(call *kong.Context, flag string) bool {
	for _, p := range call.Path {
		if p.Flag != nil && p.Flag.Name == flag && !p.Resolved {
			return true
		}
	}
	return false
}

// An output is standard output. Its errors have their own type, because a reader that closes it is no failure.
type output struct{ w io.Writer }

func (o output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		err = &outputError{err}
	}
	return n, err
}

type outputError struct{ err error }

func (e *outputError) Error() string { return "standard output: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// unread reports whether err means that the reader of standard output has closed it.
func unread(err error) bool {
	var out *outputError
	return errors.As(err, &out) && (errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe))
}

// run runs the program, without the parts that concern the process. ctx ends early at an [interrupt].
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	s := &session{ctx: ctx, stdin: stdin, stdout: output{stdout}, stderr: stderr, env: env}
	ended := false // by --help or --version
	values := &settings{getenv: s.getenv}
	parser, err := kong.New(&commands{},
		kong.Resolvers(values),
		kong.Bind(values),
		anyBytes(),
		kong.Name("streamhub"),
		kong.Description("A distributed stream hub on Redis.\n\n"+
			"Each flag has an environment variable: --a-b is $STREAMHUB_A_B, --redis is $STREAMHUB_REDIS_URL. A flag wins over a variable, a variable over the file of --config.\n\n"+
			"Exit codes: 0 good, 1 failed, 2 usage, 3 conflict (sequence, fence, lease), 4 history lost or trimmed, 130 interrupted."),
		kong.Writers(s.stdout, stderr),
		kong.Exit(func(int) { ended = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.ValueFormatter(withDefault),
	)
	if err != nil {
		return s.end(err)
	}
	if len(args) == 0 {
		parser.Stdout = stderr
		_, _ = parser.Parse([]string{"--help"})
		return exitUsage
	}
	call, err := parser.Parse(asked(args))
	var unwritten *outputError
	switch {
	case ended:
		return 0
	case errors.As(err, &unwritten): // of what --help and --version write
		return s.end(unwritten)
	case err != nil:
		var parse *kong.ParseError
		command := ""
		if errors.As(err, &parse) && parse.Context != nil {
			for n := parse.Context.Selected(); n != nil && n.Type == kong.CommandNode; n = n.Parent {
				command = " " + n.Name + command
			}
		}
		return s.end(usagef("%v; see streamhub%s --help", err, command))
	}
	s.call = call
	err = call.Run(s)
	if errors.Is(err, context.Canceled) {
		err = interrupted(ctx, err)
	}
	if interruptedCode(err) == 0 && !endless(call) {
		err = failedf("stopped by SIGTERM before it was done")
	}
	return s.end(err)
}

// endless reports whether a command runs until it is stopped, so that SIGTERM is a success.
func endless(call *kong.Context) bool {
	command := call.Selected().Path()
	for _, f := range call.Flags() {
		if command == "read" && f.Name == "follow" {
			return f.Target.Bool()
		}
	}
	return slices.Contains([]string{"serve", "demo", "watch", "top", "archive run"}, command)
}

// note writes a line for people.
func (s *session) note(format string, args ...any) {
	fmt.Fprintf(s.stderr, "streamhub: "+format+"\n", args...)
}

// getenv returns a variable of the environment, "" if it is not set.
func (s *session) getenv(name string) string {
	value := ""
	for _, pair := range s.env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = v // as in a process, the last one counts
		}
	}
	return value
}

// A statusError ends the program with an exit code that does not follow from the error. A nil Err was already reported.
type statusError struct {
	code int
	err  error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}
func (e *statusError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &statusError{exitUsage, fmt.Errorf(format, args...)}
}

func failedf(format string, args ...any) error {
	return &statusError{exitFailed, fmt.Errorf(format, args...)}
}

// end reports err and returns the exit code for it.
func (s *session) end(err error) int {
	if err == nil || unread(err) {
		return 0
	}
	if code := interruptedCode(err); code >= 0 {
		return code
	}
	var status *statusError
	if !errors.As(err, &status) || status.err != nil {
		s.note("%s", s.explain(err))
	}
	return codeOf(err)
}

// interruptedCode returns the code for the end by a signal, -1 for any other error.
func interruptedCode(err error) int {
	var by interrupt
	switch {
	case !errors.As(err, &by):
		return -1
	case by.signal == syscall.SIGINT:
		return exitInterrupted
	}
	return 0
}

func codeOf(err error) int {
	var status *statusError
	switch {
	case errors.As(err, &status):
		return status.code
	case errors.Is(err, streamhub.ErrHistoryLost), errors.Is(err, streamhub.ErrTrimmed):
		return exitHistory
	case errors.Is(err, streamhub.ErrSequenceMismatch), errors.Is(err, streamhub.ErrFenced),
		errors.Is(err, streamhub.ErrLeaseNotAcquired), errors.Is(err, streamhub.ErrLeaseLost), errors.Is(err, streamhub.ErrConflict):
		return exitConflict
	case errors.Is(err, streamhub.ErrInvalidName), errors.Is(err, streamhub.ErrInvalidCursor),
		errors.Is(err, streamhub.ErrInvalidArgument):
		return exitUsage
	}
	return exitFailed
}

// tokenGiven reports whether the command has a token, wherever that comes from.
func (s *session) tokenGiven() bool {
	if s.call == nil {
		return false
	}
	for _, f := range s.call.Flags() {
		if f.Name == "token" {
			return f.Target.String() != ""
		}
	}
	return false
}

// imports reports whether the command reads from a streamkit server, and not from a gateway.
func (s *session) imports() bool { return s.call != nil && s.call.Selected().Path() == "import" }

// explain writes err with what to do about it.
func (s *session) explain(err error) string {
	var (
		trimmed     *streamhub.TrimmedError
		lost        *streamhub.HistoryLostError
		unavailable *streamhub.UnavailableError
		sequence    *streamhub.SequenceError
		held        *streamhub.LeaseHeldError
		untrusted   *tls.CertificateVerificationError
	)
	advice, own := "", errors.As(err, new(*statusError)) // which a command has written, with its cure
	switch {
	case errors.As(err, &trimmed) && trimmed.FirstKept != 0:
		advice = fmt.Sprintf("entries before sequence %d were removed on purpose; --from %[1]d reads what is kept", trimmed.FirstKept)
	case errors.As(err, &trimmed):
		advice = fmt.Sprintf("entries after this cursor were removed on purpose; --from %s reads what is left after it", trimmed.Cursor)
	case errors.As(err, &lost) && lost.FirstLost != 0:
		advice = fmt.Sprintf("what was written from sequence %d on has vanished or was replaced: read again from there, and treat what you have of it as void", lost.FirstLost)
	case errors.As(err, &lost):
		advice = "entries that this cursor has seen vanished or were replaced; without --from everything that is there is read"
	case errors.As(err, &sequence):
		advice = fmt.Sprintf("others have appended: the next record gets sequence %d", sequence.Expected)
	case errors.As(err, &held):
		if host, process, ok := instance.Split(held.Holder); ok {
			advice = fmt.Sprintf("process %s on %s has it; ", process, host)
		}
		advice += "--wait D waits for it, and streamhub lease ls lists what is held"
	case errors.Is(err, streamhub.ErrUnauthenticated) && s.imports():
		advice = "the streamkit server wants a token of its own: --source-token, or STREAMHUB_SOURCE_TOKEN"
	case errors.Is(err, streamhub.ErrUnauthenticated) && s.tokenGiven():
		advice = "the gateway refuses the token of --token or " + authVariable + ": streamhub token check, with the flags of the gateway, says why. An admin listener wants the token of its --admin-token-file"
	case errors.Is(err, streamhub.ErrUnauthenticated):
		advice = "the gateway wants a token: --token, or " + authVariable
	case errors.Is(err, streamhub.ErrPermissionDenied):
		advice = "a token needs a scope for what is named, or for the whole store where no space is, read to read and write for everything else; streamhub token check says what it allows"
	case errors.As(err, &untrusted) && (unavailable == nil && !errors.As(err, &unavailable) || unavailable.Reason == streamhub.ReasonGateway):
		flag := serverCA
		if s.imports() {
			flag = sourceCA
		}
		advice = "the certificate is not trusted, or has another name than the address: --" + flag + " FILE names the authority that signed it"
	case errors.As(err, &unavailable):
		advice = unavailableAdvice[unavailable.Reason]
	case errors.Is(err, streamhub.ErrNotFound) && !own:
		advice = s.listing(err) + " lists what there is"
	case errors.Is(err, streamhub.ErrClosed):
		advice = "it is read as before and takes nothing more: append to another segment"
	case errors.Is(err, streamhub.ErrQuota):
		advice = "the store keeps as much as serve --store-quota lets it: trim or delete something, or have that raised"
	case errors.Is(err, streamhub.ErrInvalidCursor):
		advice = "--from takes a sequence, or a cursor exactly as it was printed for this segment or space"
	}
	if advice == "" {
		return err.Error()
	}
	return err.Error() + "\n  " + advice
}

// listing returns the command that lists the names among which err found none.
func (s *session) listing(err error) string {
	command := ""
	if s.call != nil {
		command, _, _ = strings.Cut(s.call.Selected().Path(), " ")
	}
	var at *streamhub.Error
	named := errors.As(err, &at)
	switch {
	case command == "live" && named && at.Space != defaultLiveSpace:
		return "streamhub live ls --all --space " + shellQuote(at.Space)
	case command == "live":
		return "streamhub live ls --all"
	case command == "subscriptions", command == "archive":
		return "streamhub " + command + " ls"
	case named && at.Segment != "":
		return "streamhub ls " + shellQuote(at.Space)
	}
	return "streamhub ls"
}

var unavailableAdvice = map[streamhub.UnavailableReason]string{
	streamhub.ReasonGateway:  "check that streamhub serve runs where --server says; without a gateway, --redis or $STREAMHUB_REDIS_URL names the Redis itself",
	streamhub.ReasonDown:     "check that Redis runs where the URL says; streamhub doctor looks closer",
	streamhub.ReasonLoading:  "Redis is still reading its data: try again in a moment",
	streamhub.ReasonReadOnly: "this server is a replica: use the URL of the primary, or redis+sentinel://",
	streamhub.ReasonFull:     "Redis has no room: raise its maxmemory or make room on its disk; streamhub doctor looks closer",
	streamhub.ReasonReplicas: "Redis wants more replicas than are connected (min-replicas-to-write)",
	streamhub.ReasonBusy:     "Redis is busy: try again in a moment",
	streamhub.ReasonTLS:      "the certificate of Redis is not trusted, or its port speaks no TLS: name the authority with --redis-tls-ca, or use redis:// instead of rediss://",
	streamhub.ReasonDenied:   "Redis refuses this user or password; streamhub doctor tells what the user lacks",
}

// versionFlag writes the version as soon as it is seen.
type versionFlag bool

// BeforeReset is called by the parser.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	_, err := fmt.Fprintln(app.Stdout, "streamhub", versionText())
	if err == nil {
		app.Exit(0)
	}
	return err
}
