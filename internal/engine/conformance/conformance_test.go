package conformance

import (
	"cmp"
	"os"
	"runtime"
	"sync"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
)

// TestEngine judges the embedded engine; with AKSFLOW_ENGINE=dagger, the Dagger engine that is at hand. The image that
// it starts from is made here and served on 127.0.0.1; an engine that runs elsewhere pulls $AKSFLOW_TEST_BASE.
func TestEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	name := cmp.Or(os.Getenv("AKSFLOW_ENGINE"), engine.Embedded)
	if name == engine.Embedded && (runtime.GOOS != "linux" || os.Getuid() != 0) {
		t.Skip("the embedded engine needs Linux and root")
	}
	base := os.Getenv("AKSFLOW_TEST_BASE")
	if base == "" {
		base = registrytest.Start(t) + "/" + baseimage.Debian
	}
	Run(t, Engine{Base: base, Connect: func(t testing.TB) (*dagger.Client, func()) {
		s, err := engine.Connect(t.Context(), engine.Options{Engine: name, Env: os.Environ(), Setenv: os.Setenv})
		require.NoError(t, err)
		closeSession := sync.OnceFunc(func() { _ = s.Close() })
		t.Cleanup(closeSession)
		return s.Client(), closeSession
	}})
}
