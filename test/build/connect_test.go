package build_test

import (
	"os"
	"runtime"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
)

// connect opens a session of the embedded engine or, with AKSFLOW_ENGINE=dagger, of the Dagger engine that is at hand.
// It returns the base image that the engine can pull: one that is made here and served on 127.0.0.1, or
// $AKSFLOW_TEST_BASE for an engine that runs elsewhere.
func connect(t *testing.T) (client *dagger.Client, base string) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs containers")
	}
	name := os.Getenv("AKSFLOW_ENGINE")
	if name == "" {
		name = engine.Embedded
	}
	if name == engine.Embedded && (runtime.GOOS != "linux" || os.Getuid() != 0) {
		t.Skip("the embedded engine needs Linux and root")
	}
	s, err := engine.Connect(t.Context(), engine.Options{Engine: name, Env: os.Environ(), Setenv: os.Setenv})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	if base = os.Getenv("AKSFLOW_TEST_BASE"); base == "" {
		base = registrytest.Start(t) + "/" + baseimage.Debian
	}
	return s.Client(), base
}
