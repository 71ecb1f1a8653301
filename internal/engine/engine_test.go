package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/engine/buildkitd"
	"github.com/aksflow/aksflow/internal/tool"
)

// needsEngine skips a test where the engine cannot run.
func needsEngine(t testing.TB) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("runs containers")
	case runtime.GOOS != "linux":
		t.Skip("the embedded engine runs on Linux only")
	case os.Geteuid() != 0:
		t.Skip("the embedded engine needs root")
	}
	if os.Getenv(tool.Dir) == "" { // where `make setup` puts the tools
		bin, err := filepath.Abs(filepath.Join("..", "..", "bin"))
		if err != nil {
			t.Fatal(err)
		}
		os.Setenv(tool.Dir, bin)
	}
}

// stateDir is an engine's state directory, with no daemon left when the test ends.
func stateDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "aksflow-engine-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		assert.NoError(t, buildkitd.Stop(context.Background(), dir))
		assert.NoError(t, os.RemoveAll(dir))
	})
	return dir
}
