package azure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"golang.org/x/sync/errgroup"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

// An object is an entity: its space is the partition and its key the row. Its bytes are in the properties d00, d01, …
// If the property blob is true, they are in a blob, whose name has the space, the key and the checksum. The entity is
// written before the blob and removed after it, so that every blob can be found through a list of entities.
const (
	propertySize = "size"
	propertySum  = "sum"
	propertyBlob = "blob"

	// The service allows 64 KiB in a property and 1 MiB in an entity.
	propertyLimit = 64 << 10
	entityLimit   = 14 * propertyLimit

	// parallel is how many requests of one operation are in flight at once.
	parallel = 8
)

func propertyName(i int) string { return fmt.Sprintf("d%02d", i) }

func blobName(space archive.SpaceID, key string, sum []byte) string {
	return partition(space) + "/" + key + "/" + hex.EncodeToString(sum)
}

// each calls do for 0 to n-1, up to parallel calls at once, and returns the first error.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// Put implements [archive.Backend].
func (b *Backend) Put(ctx context.Context, space archive.SpaceID, objects ...archive.Object) error {
	return each(ctx, len(objects), func(ctx context.Context, i int) error { return b.put(ctx, space, &objects[i]) })
}

func (b *Backend) put(ctx context.Context, space archive.SpaceID, o *archive.Object) error {
	sum := sha256.Sum256(o.Data)
	e := aztables.EDMEntity{
		Entity: aztables.Entity{PartitionKey: partition(space), RowKey: o.Key},
		Properties: map[string]any{
			propertySize: aztables.EDMInt64(len(o.Data)),
			propertySum:  aztables.EDMBinary(sum[:]),
		},
	}
	large := len(o.Data) > entityLimit
	if large {
		e.Properties[propertyBlob] = true
	} else {
		for i, rest := 0, o.Data; len(rest) > 0; i++ {
			n := min(len(rest), propertyLimit)
			e.Properties[propertyName(i)] = aztables.EDMBinary(rest[:n])
			rest = rest[n:]
		}
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = b.table.AddEntity(ctx, text, nil)
	if status(err) == 409 { // either this is a repeat, or the key holds other bytes
		there, found := b.entity(ctx, space, o.Key)
		if found != nil {
			return found
		}
		if have, _ := there.Properties[propertySum].([]byte); !bytes.Equal(have, sum[:]) {
			return fmt.Errorf("%w: %q holds other bytes", streamhub.ErrConflict, o.Key)
		}
		err = nil
	}
	if err != nil || !large {
		return outcome(err)
	}
	_, err = b.blobs.NewBlockBlobClient(blobName(space, o.Key, sum[:])).Upload(ctx, streaming.NopCloser(bytes.NewReader(o.Data)), nil)
	return outcome(err)
}

func (b *Backend) entity(ctx context.Context, space archive.SpaceID, key string) (e aztables.EDMEntity, err error) {
	found, err := b.table.GetEntity(ctx, partition(space), key, nil)
	if err != nil {
		return e, outcome(err)
	}
	if err := json.Unmarshal(found.Value, &e); err != nil {
		return e, fmt.Errorf("%w: entity %q: %w", streamhub.ErrCorrupt, key, err)
	}
	// Convert the properties to the types into which the SDK decodes them.
	for name, v := range e.Properties {
		if v, ok := v.(aztables.EDMBinary); ok {
			e.Properties[name] = []byte(v)
		}
	}
	return e, nil
}

// Get implements [archive.Backend].
func (b *Backend) Get(ctx context.Context, space archive.SpaceID, key string) ([]byte, error) {
	e, err := b.entity(ctx, space, key)
	if err != nil {
		return nil, err
	}
	size, _ := e.Properties[propertySize].(aztables.EDMInt64)
	if size < 0 || size > maxObject {
		return nil, fmt.Errorf("%w: %q has %d bytes", streamhub.ErrCorrupt, key, size)
	}
	if large, _ := e.Properties[propertyBlob].(bool); large {
		sum, _ := e.Properties[propertySum].([]byte)
		return b.download(ctx, blobName(space, key, sum), int64(size))
	}
	data := make([]byte, 0, size)
	for i := 0; ; i++ {
		part, ok := e.Properties[propertyName(i)].([]byte)
		if !ok {
			return data, nil // the checksum shows whether this is the complete object
		}
		data = append(data, part...)
	}
}

// maxObject bounds the size, in bytes, of an object that is read; no object is that large.
const maxObject = 256 << 20

func (b *Backend) download(ctx context.Context, name string, size int64) ([]byte, error) {
	r, err := b.blobs.NewBlobClient(name).DownloadStream(ctx, nil)
	if err != nil {
		return nil, outcome(err)
	}
	body := r.NewRetryReader(ctx, nil)
	defer body.Close()
	data := make([]byte, 0, size)
	buffer := bytes.NewBuffer(data)
	if _, err := io.Copy(buffer, io.LimitReader(body, size+1)); err != nil {
		return nil, outcome(err)
	}
	return buffer.Bytes(), nil
}

// List implements [archive.Backend].
func (b *Backend) List(ctx context.Context, space archive.SpaceID, prefix, after string, limit int) ([]archive.Item, error) {
	filter := "PartitionKey eq '" + partition(space) + "'"
	if prefix != "" {
		filter += " and RowKey ge '" + prefix + "' and RowKey lt '" + above(prefix) + "'"
	}
	if after != "" {
		filter += " and RowKey gt '" + after + "'"
	}
	var items []archive.Item
	err := b.query(ctx, filter, "PartitionKey,RowKey,"+propertySize, limit, func(e *aztables.EDMEntity) {
		size, _ := e.Properties[propertySize].(aztables.EDMInt64)
		items = append(items, archive.Item{Key: e.RowKey, Size: int64(size)})
	})
	return items, err
}

// above returns the first string after all those that begin with prefix. The last character of prefix must have a
// successor.
func above(prefix string) string {
	end := []byte(prefix)
	end[len(end)-1]++
	return string(end)
}

// maxPage is the most entities that the service returns at once.
const maxPage = 1000

// query visits up to limit entities in the order of their keys.
func (b *Backend) query(ctx context.Context, filter, fields string, limit int, visit func(*aztables.EDMEntity)) error {
	o := &aztables.ListEntitiesOptions{Filter: &filter, Select: &fields, Top: to.Ptr(int32(min(limit, maxPage)))}
	n := 0
	for pager := b.table.NewListEntitiesPager(o); pager.More() && n < limit; {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return outcome(err)
		}
		for _, text := range page.Entities {
			var e aztables.EDMEntity
			if err := json.Unmarshal(text, &e); err != nil {
				return fmt.Errorf("%w: an entity of the archive: %w", streamhub.ErrCorrupt, err)
			}
			if n++; n > limit {
				break
			}
			visit(&e)
		}
	}
	return nil
}

// Delete implements [archive.Backend].
func (b *Backend) Delete(ctx context.Context, space archive.SpaceID, keys ...string) error {
	return each(ctx, len(keys), func(ctx context.Context, i int) error { return b.delete(ctx, space, keys[i]) })
}

func (b *Backend) delete(ctx context.Context, space archive.SpaceID, key string) error {
	e, err := b.entity(ctx, space, key)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if large, _ := e.Properties[propertyBlob].(bool); large {
		sum, _ := e.Properties[propertySum].([]byte)
		if _, err := b.blobs.NewBlobClient(blobName(space, key, sum)).Delete(ctx, nil); err != nil && status(err) != 404 {
			return outcome(err)
		}
	}
	_, err = b.table.DeleteEntity(ctx, partition(space), key, nil)
	if status(err) == 404 {
		return nil
	}
	return outcome(err)
}
