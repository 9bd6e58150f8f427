package follow

import (
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) {
	logging.Disable() // the driver reports each dial that a test makes fail
	testredis.Main(m)
}
