package wsgateway

func newMuxer(l *link) *muxer { return &muxer{l} }

type muxer struct{ *link }

func (m *muxer) serve() { m.end() }
