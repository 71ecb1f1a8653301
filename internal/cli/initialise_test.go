package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

func runInit(t *testing.T, dir string, args ...string) initResult {
	t.Helper()
	var stdout bytes.Buffer
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer stderr.Close()
	g := &globals{stdout: &stdout, stderr: stderr}
	code := g.execute(t.Context(), append([]string{"init", dir, "--output", "json", "--state", t.TempDir()}, args...))
	log, _ := os.ReadFile(stderr.Name())
	require.Zero(t, code, "%s", log)
	var r initResult
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r))
	return r
}

func TestInitWritesOnlyWhenTold(t *testing.T) {
	dir := t.TempDir()
	dockerfile := filepath.Join(dir, "Dockerfile")
	require.NoError(t, os.WriteFile(dockerfile, []byte("FROM scratch\nEXPOSE 80\n"), 0o644))

	assert.False(t, runInit(t, dir).Written)
	assert.NoFileExists(t, filepath.Join(dir, "aksflow.yaml"))

	r := runInit(t, dir, "--yes", "--ci", "gitlab")
	assert.True(t, r.Written)
	assert.FileExists(t, filepath.Join(dir, ".gitlab-ci.yml"))
	require.Len(t, r.Checked, 1)
	require.NotNil(t, r.Checked[0].Doctor)
	assert.Equal(t, "configuration", r.Checked[0].Doctor.Parts[0].Name)
	assert.Equal(t, "ok", string(r.Checked[0].Doctor.Parts[0].Checks[0].Status))
}

// Several services are looked at beside each other, the engine once, and no registry that nobody named.
func TestInitOfSeveral(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cart", "mail"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "Dockerfile"), []byte("FROM scratch\nEXPOSE 80\n"), 0o644))
	}
	r := runInit(t, dir, "--yes")
	require.Len(t, r.Checked, 2)
	assert.NotEmpty(t, r.Engine)
	for _, c := range r.Checked {
		require.Len(t, c.Doctor.Parts, 1, "%+v", c.Doctor)
		assert.Zero(t, c.Doctor.Failed, "%+v", c.Doctor)
		assert.NotNil(t, c.Plan)
	}

	var text bytes.Buffer
	r.Checked[1].Doctor.Parts[0].Checks[0] = delivery.Check{Name: "aksflow.yaml", Status: delivery.CheckFailed, Message: "is gone"}
	r.Text(&text)
	assert.Equal(t, 1, strings.Count(text.String(), "\nengine\n"))
	assert.Regexp(t, `cart/aksflow.yaml +5 of 5 ok +build, test`, text.String())
	assert.Contains(t, text.String(), "/mail/aksflow.yaml\n  failed   aksflow.yaml: is gone\n")
}
