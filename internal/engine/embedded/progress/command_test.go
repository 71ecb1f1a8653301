package progress_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
)

func TestCommand(t *testing.T) {
	for want, args := range map[string][]string{
		"":                   {},
		"pytest -q":          {"pytest", "-q"},
		"sh -c pytest":       {"sh", "-c", "pytest"},
		"pytest tests":       {"/bin/sh", "-c", `umask 0; exec "$@"`, "sh", "pytest", "tests"},
		`sh -c exec "$@" sh`: {"sh", "-c", `exec "$@"`, "sh"},
	} {
		assert.Equal(t, want, progress.Command(args))
	}
}
