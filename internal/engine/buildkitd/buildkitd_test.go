package buildkitd

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScratch(t *testing.T) {
	d, err := Acquire(context.Background(), Options{Dir: "/tmp/bktry/engine", Idle: 5 * time.Minute})
	require.NoError(t, err)
	require.NoError(t, d.Release())
}
