//go:build linux

package conformance

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
	"github.com/aksflow/aksflow/internal/testing/usertest"
)

// TestRootless judges the embedded engine of a user without root.
func TestRootless(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	env := map[string]string{"AKSFLOW_TEST_ALL": os.Getenv("AKSFLOW_TEST_ALL")}
	if os.Geteuid() == 0 {
		env["AKSFLOW_TEST_BASE"] = registrytest.Start(t) + "/" + baseimage.Debian
	}
	usertest.Run(t, []string{"buildkitd", "aksflow-shim", "rootlesskit"}, env, func(t *testing.T) {
		state := filepath.Join(os.Getenv("HOME"), "state")
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			require.NoError(t, engine.Prune(ctx, state, os.Environ()))
			left, err := os.ReadDir(state)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
		Run(t, embedded(os.Getenv("AKSFLOW_TEST_BASE"), func(report.Event) {}, "AKSFLOW_STATE="+state), elsewhere()...)
	})
}
