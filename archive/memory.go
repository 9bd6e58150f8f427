package archive

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/seed-147127fe/streamhub"
)

// A Memory is a [Backend] in memory, for tests and first steps. It is safe for concurrent use.
type Memory struct {
	mu     sync.Mutex
	spaces map[string]*memorySpace // by SpaceID.Text
	// clock counts the manifests that were written, so that a version never repeats, not even after a removal.
	clock int
}

// A memorySpace is what a Memory holds of one space. version is empty while there is no manifest.
type memorySpace struct {
	objects  map[string][]byte
	manifest []byte
	version  string
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory { return &Memory{spaces: map[string]*memorySpace{}} }

func (m *Memory) space(id SpaceID) *memorySpace {
	s := m.spaces[id.Text()]
	if s == nil {
		s = &memorySpace{objects: map[string][]byte{}}
		m.spaces[id.Text()] = s
	}
	return s
}

// Put implements [Backend].
func (m *Memory) Put(ctx context.Context, id SpaceID, objects ...Object) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.space(id)
	for _, o := range objects {
		if err := ctx.Err(); err != nil {
			return err
		}
		if old, ok := s.objects[o.Key]; ok && !bytes.Equal(old, o.Data) {
			return fmt.Errorf("%w: %q holds other bytes", streamhub.ErrConflict, o.Key)
		}
		s.objects[o.Key] = bytes.Clone(o.Data)
	}
	return nil
}

// Get implements [Backend].
func (m *Memory) Get(ctx context.Context, id SpaceID, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.space(id).objects[key]
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: %q", streamhub.ErrNotFound, key)
	}
	return bytes.Clone(data), nil
}

// List implements [Backend].
func (m *Memory) List(ctx context.Context, id SpaceID, prefix, after string, limit int) ([]Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var items []Item
	for key, data := range m.space(id).objects {
		if strings.HasPrefix(key, prefix) && key > after {
			items = append(items, Item{key, int64(len(data))})
		}
	}
	slices.SortFunc(items, func(a, b Item) int { return strings.Compare(a.Key, b.Key) })
	return items[:min(limit, len(items))], ctx.Err()
}

// Delete implements [Backend].
func (m *Memory) Delete(ctx context.Context, id SpaceID, keys ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, key := range keys {
		delete(m.space(id).objects, key)
	}
	return nil
}

// Manifest implements [Backend].
func (m *Memory) Manifest(ctx context.Context, id SpaceID) (data []byte, version string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.space(id)
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if s.version == "" {
		return nil, "", fmt.Errorf("%w: a manifest of %q", streamhub.ErrNotFound, id.Space)
	}
	return bytes.Clone(s.manifest), s.version, nil
}

// SetManifest implements [Backend].
func (m *Memory) SetManifest(ctx context.Context, id SpaceID, version string, data []byte) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.space(id)
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if s.version != version {
		return "", fmt.Errorf("%w: the manifest of %q has changed", streamhub.ErrFenced, id.Space)
	}
	m.clock++
	s.manifest, s.version = bytes.Clone(data), strconv.Itoa(m.clock)
	return s.version, nil
}

// RemoveManifest implements [Backend].
func (m *Memory) RemoveManifest(ctx context.Context, id SpaceID, version string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.space(id)
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.version != "" && s.version != version {
		return fmt.Errorf("%w: the manifest of %q has changed", streamhub.ErrFenced, id.Space)
	}
	s.manifest, s.version = nil, ""
	return nil
}

// Spaces implements [Backend].
func (m *Memory) Spaces(ctx context.Context, after SpaceID, limit int) ([]SpaceID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var texts []string
	for text, s := range m.spaces {
		if s.version != "" && (after == SpaceID{} || text > after.Text()) {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	ids := make([]SpaceID, 0, min(limit, len(texts)))
	for _, text := range texts[:min(limit, len(texts))] {
		id, _ := ParseSpaceID(text)
		ids = append(ids, id)
	}
	return ids, ctx.Err()
}

// Close implements [Backend].
func (m *Memory) Close() error { return nil }
