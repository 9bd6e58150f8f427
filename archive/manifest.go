package archive

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/seed-147127fe/streamhub"
)

const (
	kindCommit   = 'c'
	kindManifest = 'm'
)

// An Owner is the writer of a space: the token and the holder of its lease, and the lineage of the
// Redis that granted it.
type Owner struct {
	Token   uint64 `json:"token"`
	Lineage string `json:"lineage"`
	Holder  string `json:"holder"`
}

// A Commit says how far a space is archived, with totals.
type Commit struct {
	// Window and Attempt name the last window and the attempt that counts; Window is 0 if there is none.
	Window  uint64 `json:"window"`
	Attempt uint64 `json:"attempt"`
	// Position is the place in the timeline where that window ends. Entries counts all archived entries.
	Position streamhub.TimelineID `json:"position"`
	Entries  uint64               `json:"entries"`
	Chunks   uint64               `json:"chunks"`
	// RawBytes is the size of the frames before compression. Bytes is the size of the compressed objects.
	RawBytes uint64 `json:"raw_bytes"`
	Bytes    uint64 `json:"bytes"`
}

// A Manifest is the root of the archive of a space: its writer, and the last window that counts.
type Manifest struct {
	Owner  Owner  `json:"owner"`
	Commit Commit `json:"commit"`
	// Rewinds grows with each rewind: after Redis has lost history, an earlier window becomes the last one again. It
	// starts at the token of the first owner. A cached window is valid only for the value with which it was read.
	Rewinds uint64 `json:"rewinds,omitempty"`
}

func seal(kind byte, v any) []byte {
	description, err := json.Marshal(v)
	if err == nil {
		description, err = sealObject(kind, description, nil)
	}
	if err != nil {
		panic(err) // cannot fail: the fields are numbers and short strings
	}
	return description
}

func unseal(kind byte, b []byte, v any) error {
	description, _, err := openObject(kind, b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(description, v); err != nil {
		return fmt.Errorf("%w: an archived object: %w", streamhub.ErrCorrupt, err)
	}
	return nil
}

func loadManifest(ctx context.Context, b Backend, space SpaceID) (m Manifest, version string, err error) {
	data, version, err := b.Manifest(ctx, space)
	if err != nil {
		return m, "", err
	}
	return m, version, unseal(kindManifest, data, &m)
}

// mayFollow returns ErrFenced unless the owner is later than old or the same.
func (o *Owner) mayFollow(old *Owner) error {
	switch {
	case o.Token > old.Token, *o == *old:
		return nil
	case o.Token == old.Token:
		return fmt.Errorf("%w: token %d was used by %q before", streamhub.ErrFenced, o.Token, old.Holder)
	}
	return &streamhub.FencedError{Current: old.Token, Got: o.Token}
}
