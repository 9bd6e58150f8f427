package livestream

import (
	"cmp"
	"context"
)

// SetMetadata implements [live.Producer].
func (p *Producer) SetMetadata(ctx context.Context, v any) error {
	return p.fail("set metadata", p.id, p.setMetadata(ctx, v))
}

func (p *Producer) setMetadata(ctx context.Context, v any) error {
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return p.Stream.setMetadata(ctx, v)
}

func (s *Stream) setMetadata(ctx context.Context, v any) error {
	text, err := encodeMetadata(v)
	if err = cmp.Or(err, s.m.checkOpen()); err != nil {
		return err
	}
	code, n, err := s.ask(ctx, metadataScript, s.id, "", decimal(s.generation), text)
	if err != nil || code == "+" {
		return err
	}
	return producing(s.refused(ctx, code, n[0]), s.generation)
}
