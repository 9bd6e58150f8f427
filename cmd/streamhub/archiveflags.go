package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/alecthomas/units"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/azure"
	"github.com/seed-147127fe/streamhub/archive/pebble"
	"github.com/seed-147127fe/streamhub/archive/tier"
)

const (
	// The environment variables that Azure's own tools use.
	azureConnection = "AZURE_STORAGE_CONNECTION_STRING"
	azureKey        = "AZURE_STORAGE_KEY"
	azureSAS        = "AZURE_STORAGE_SAS_TOKEN"
)

// archiveFlag is the flag that names the archive.
type archiveFlag struct {
	Archive string `placeholder:"URL" help:"Where cold history lies: pebble:///DIR for one process, azure://ACCOUNT/PREFIX for any number; $STREAMHUB_ARCHIVE if not given. Azure: $AZURE_STORAGE_CONNECTION_STRING, $AZURE_STORAGE_KEY, $AZURE_STORAGE_SAS_TOKEN, or who Azure's tools say you are."`
}

// backend opens the archive, or returns nil if the flag is empty. With mustExist it does not create one.
func (f *archiveFlag) backend(ctx context.Context, s *session, mustExist bool) (archive.Backend, error) {
	text := f.Archive
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, usagef("--archive: %w", err)
	case u.Scheme == "pebble" && u.Host == "" && u.Path != "" && u.RawQuery == "":
		b, err := pebble.Open(u.Path, &pebble.Options{MustExist: mustExist})
		if err != nil {
			return nil, archiveError(err)
		}
		return b, nil
	case u.Scheme == "azure" && u.Host != "" && u.RawQuery == "":
		b, err := azure.Open(ctx, u.Host, strings.Trim(u.Path, "/"), &azure.Options{
			ConnectionString: s.getenv(azureConnection), AccountKey: s.getenv(azureKey), SAS: s.getenv(azureSAS), MustExist: mustExist,
		})
		if err != nil {
			return nil, archiveError(err)
		}
		return b, nil
	}
	return nil, usagef("--archive %q: want pebble:///DIR or azure://ACCOUNT/PREFIX", text)
}

// archiveError sets the exit code of an error: a wrong place of the archive, or one that cannot be used now.
func archiveError(err error) error {
	if errors.Is(err, streamhub.ErrInvalidArgument) {
		return usagef("--archive: %w", err)
	}
	return failedf("--archive: %w", err)
}

// policyFlags say which entries leave Redis, for every space.
type policyFlags struct {
	Age  time.Duration `name:"archive-age" default:"1h" placeholder:"D" help:"How old entries become in Redis; 0 for no rule."`
	Idle time.Duration `name:"archive-idle" placeholder:"D" help:"How long a segment goes without new entries until all of it leaves Redis; no rule if not given."`
	Hot  byteSize      `name:"archive-hot-bytes" placeholder:"SIZE" help:"What the entries of a space may take in Redis, 64MiB say: the oldest ones leave before, and appends are refused at it; no rule if not given."`
	Keep uint64        `name:"archive-keep" default:"100" placeholder:"N" help:"How many of the last entries of a segment stay, whatever age and size say."`
}

func (f *policyFlags) policy() (tier.Policy, error) {
	if f.Age < 0 || f.Idle < 0 || f.Hot < 0 {
		return tier.Policy{}, usagef("--archive-age, --archive-idle and --archive-hot-bytes are 0 or more")
	}
	return tier.Policy{Age: f.Age, Idle: f.Idle, HotBytes: int64(f.Hot), KeepLast: f.Keep}, nil
}

// A byteSize is a number of bytes with a unit: 64MiB, 64MB, 1000B.
type byteSize int64

// UnmarshalText is called by the parser.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := units.ParseStrictBytes(string(text))
	if err != nil {
		return fmt.Errorf("%q is no size: write 64MiB, 64MB or 1000B", text)
	}
	*b = byteSize(n)
	return nil
}
