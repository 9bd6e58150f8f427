package azure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

// Manifests lie together in one partition, so that spaces can be listed. It cannot be the partition of a space, which
// begins with a UUID.
const manifests = "manifests"

// propertySpace holds the name of a space whose partition is a hash; see [partition].
const propertySpace = "space"

// partitionLimit is the longest text of a space that is used as a partition. The service allows 512 characters in a
// key, but a filter or a URL must hold two keys. For a longer text the partition is the store, 'Z' and the SHA-256 of
// the name. No text of a space contains a 'Z', and the manifest keeps the name.
const partitionLimit = 300

// partition returns the partition key of the entities of a space.
func partition(space archive.SpaceID) string {
	text := space.Text()
	if len(text) <= partitionLimit {
		return text
	}
	sum := sha256.Sum256([]byte(space.Space))
	return space.Store.String() + "!Z" + hex.EncodeToString(sum[:])
}

// spaceOf returns the space of the entity of a manifest.
func spaceOf(e *aztables.EDMEntity) (archive.SpaceID, bool) {
	name, ok := e.Properties[propertySpace].(aztables.EDMBinary)
	if !ok {
		return archive.ParseSpaceID(e.RowKey)
	}
	store, _, _ := strings.Cut(e.RowKey, "!")
	id, err := uuid.Parse(store)
	space := archive.SpaceID{Store: id, Space: string(name)}
	return space, err == nil && partition(space) == e.RowKey
}

// Manifest implements [archive.Backend]. The version is the etag of the entity.
func (b *Backend) Manifest(ctx context.Context, space archive.SpaceID) (data []byte, version string, err error) {
	found, err := b.table.GetEntity(ctx, manifests, partition(space), nil)
	if err != nil {
		return nil, "", outcome(err)
	}
	var e aztables.EDMEntity
	if err := json.Unmarshal(found.Value, &e); err != nil {
		return nil, "", fmt.Errorf("%w: manifest of %q: %w", streamhub.ErrCorrupt, space.Space, err)
	}
	text, _ := e.Properties[propertyName(0)].(aztables.EDMBinary)
	return text, string(found.ETag), nil
}

// SetManifest implements [archive.Backend].
func (b *Backend) SetManifest(ctx context.Context, space archive.SpaceID, version string, data []byte) (string, error) {
	if len(data) > propertyLimit {
		return "", fmt.Errorf("%w: a manifest of %d bytes", streamhub.ErrTooLarge, len(data))
	}
	properties := map[string]any{propertyName(0): aztables.EDMBinary(data)}
	row := partition(space)
	if row != space.Text() {
		properties[propertySpace] = aztables.EDMBinary(space.Space)
	}
	text, err := json.Marshal(aztables.EDMEntity{
		Entity:     aztables.Entity{PartitionKey: manifests, RowKey: row},
		Properties: properties,
	})
	if err != nil {
		return "", err
	}
	changed := fmt.Errorf("%w: the manifest of %q has changed", streamhub.ErrFenced, space.Space)
	if version == "" {
		made, err := b.table.AddEntity(ctx, text, nil)
		if status(err) == 409 {
			return "", changed
		}
		return string(made.ETag), outcome(err)
	}
	if !strings.HasPrefix(version, `W/"`) { // not an etag, which the service would refuse with another error
		return "", changed
	}
	etag := azcore.ETag(version)
	set, err := b.table.UpdateEntity(ctx, text, &aztables.UpdateEntityOptions{IfMatch: &etag, UpdateMode: aztables.UpdateModeReplace})
	if code := status(err); code == 412 || code == 404 {
		return "", changed
	}
	return string(set.ETag), outcome(err)
}

// RemoveManifest implements [archive.Backend].
func (b *Backend) RemoveManifest(ctx context.Context, space archive.SpaceID, version string) error {
	etag := azcore.ETag(version)
	if !strings.HasPrefix(version, `W/"`) { // not an etag, which the service would refuse with another error
		etag = `W/"none"`
	}
	_, err := b.table.DeleteEntity(ctx, manifests, partition(space), &aztables.DeleteEntityOptions{IfMatch: &etag})
	switch err = outcome(err); {
	case missing(err):
		return nil
	case status(err) == 412:
		return fmt.Errorf("%w: the manifest of %q has changed", streamhub.ErrFenced, space.Space)
	}
	return err
}

// Spaces implements [archive.Backend].
func (b *Backend) Spaces(ctx context.Context, after archive.SpaceID, limit int) ([]archive.SpaceID, error) {
	filter := "PartitionKey eq '" + manifests + "'"
	if after != (archive.SpaceID{}) {
		filter += " and RowKey gt '" + partition(after) + "'"
	}
	var ids []archive.SpaceID
	err := b.query(ctx, filter, "PartitionKey,RowKey,"+propertySpace, limit, func(e *aztables.EDMEntity) {
		if id, ok := spaceOf(e); ok {
			ids = append(ids, id)
		}
	})
	return ids, err
}
