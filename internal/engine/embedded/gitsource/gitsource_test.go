package gitsource_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine/embedded/gitsource"
)

func TestParse(t *testing.T) {
	for remote, want := range map[string]struct {
		url, header string
		ssh         bool
	}{
		"https://github.com/o/r":                 {url: "https://github.com/o/r"},
		"https://github.com/o/r.git":             {url: "https://github.com/o/r.git"},
		"github.com/o/r":                         {url: "https://github.com/o/r"},
		"http://127.0.0.1:3000/r.git":            {url: "http://127.0.0.1:3000/r.git"},
		"https://me:secret@github.com/o/r":       {url: "https://github.com/o/r", header: "basic bWU6c2VjcmV0"},
		"git@github.com:o/r.git":                 {url: "git@github.com:o/r.git", ssh: true},
		"ssh://git@host.example:2222/o/r.git":    {url: "ssh://git@host.example:2222/o/r.git", ssh: true},
		"https://just-a-user@github.com/o/r.git": {url: "https://github.com/o/r.git"},
	} {
		r, header, err := gitsource.Parse(remote)
		require.NoError(t, err, remote)
		assert.Equal(t, want.url, r.URL, remote)
		assert.Equal(t, want.header, header, remote)
		assert.Equal(t, want.ssh, r.SSH, remote)
	}
}
