package archive_test

import (
	"testing"

	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/archivetest"
)

func TestContractMemory(t *testing.T) {
	t.Parallel()
	archivetest.Run(t, func(*testing.T) archive.Backend { return archive.NewMemory() })
}
