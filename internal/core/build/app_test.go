package build

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
)

// An image holds nothing of the commit unless its Dockerfile asks for it.
func TestNewArguments(t *testing.T) {
	cfg, err := config.Parse("aksflow.yaml", []byte("app: vote\nbuild: {args: {A: configured, B: configured, EMPTY: \"\"}}\n"))
	require.NoError(t, err)
	source := delivery.Source{Commit: "0123456789abcdef", Time: time.Unix(1700000000, 0)}
	given := map[string]string{"B": "given"}
	for name, test := range map[string]struct {
		dockerfile string
		source     delivery.Source
		given      map[string]string
		want       map[string]string
	}{
		"nothing is declared": {"FROM a\n", source, given, map[string]string{"A": "configured", "B": "given", "EMPTY": ""}},
		"both are declared": {
			"FROM a\nARG REVISION\nARG SOURCE_DATE_EPOCH\n", source, nil,
			map[string]string{"A": "configured", "B": "configured", "EMPTY": "", "REVISION": "0123456789abcdef", "SOURCE_DATE_EPOCH": "1700000000"},
		},
		"uncommitted changes": {
			"FROM a\nARG REVISION\n", delivery.Source{Commit: "0123", Dirty: true}, nil,
			map[string]string{"A": "configured", "B": "configured", "EMPTY": "", "REVISION": "0123-dirty"},
		},
		"no repository": {
			"FROM a\nARG REVISION\nARG SOURCE_DATE_EPOCH\n", delivery.Source{}, nil,
			map[string]string{"A": "configured", "B": "configured", "EMPTY": ""},
		},
		"given": {
			"FROM a\nARG REVISION\n", source, map[string]string{"REVISION": "mine"},
			map[string]string{"A": "configured", "B": "configured", "EMPTY": "", "REVISION": "mine"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := New(cfg, Inputs{Dockerfile: []byte(test.dockerfile), Source: test.source, Args: test.given})
			assert.Equal(t, test.want, app.BuildArgs)
			assert.Equal(t, "vote", app.Name)
		})
	}
}
