package archive

import (
	"context"
	"errors"

	"github.com/seed-147127fe/streamhub"
)

// Erase removes everything that is archived of a space, and its manifest last. owner must have a later token than the
// current writer of the space, which is fenced off. trust, if not nil, is called before each page of objects, and its
// error ends the erasure. A failed erasure may be repeated, also by a later owner. Until then readers find a space
// without windows.
func (a *Archive) Erase(ctx context.Context, space SpaceID, owner Owner, trust func(context.Context) error) error {
	w := &Writer{archive: a, space: space}
	var err error
	if w.manifest, w.version, err = loadManifest(ctx, a.backend, space); err != nil {
		// Without a readable manifest no window can be found, but objects may be left and must be removed.
		if !errors.Is(err, streamhub.ErrNotFound) && !errors.Is(err, streamhub.ErrCorrupt) {
			return err
		}
		if errors.Is(err, streamhub.ErrCorrupt) {
			if _, w.version, err = a.backend.Manifest(ctx, space); err != nil {
				return err
			}
		}
	}
	if err := owner.mayFollow(&w.manifest.Owner); err != nil {
		return err
	}
	if err := w.swap(ctx, Manifest{Owner: owner, Rewinds: w.manifest.Rewinds + 1}); err != nil {
		return err
	}
	a.forget(space, 0)
	for {
		if trust != nil {
			if err := trust(ctx); err != nil {
				return err
			}
		}
		items, err := a.backend.List(ctx, space, "", "", listPage)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return a.backend.RemoveManifest(ctx, space, w.version)
		}
		keys := make([]string, len(items))
		for i, item := range items {
			keys[i] = item.Key
		}
		if err := w.delete(ctx, keys...); err != nil {
			return err
		}
	}
}
