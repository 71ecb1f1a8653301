package docstest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/testing/docstest"
)

func TestMissing(t *testing.T) {
	commands := []docstest.Command{
		{Page: "a.md", Words: []string{"deploy", "--env", "dev", "--image", "…"}},
		{Page: "a.md", Words: []string{"build", "-o", "vote.tar"}},
		{Page: "a.md", Words: []string{"version"}},
		{Page: "a.md", Words: []string{"up", "azure"}},
	}
	var runs docstest.Runs
	runs.Add([]string{"deploy", "--env=local"})
	runs.Add([]string{"build", "--tarball", "x.tar", "--env", "local"})
	assert.Equal(t, []docstest.Command{commands[0], commands[3]}, runs.Missing(commands, docstest.E2E))
	runs.Add([]string{"deploy", "--env", "local", "--image", "x"})
	runs.Add([]string{"up", "kubernetes"})
	assert.Equal(t, commands[3:], runs.Missing(commands, docstest.E2E))
	runs.Add([]string{"up", "azure"})
	assert.Empty(t, runs.Missing(commands, docstest.E2E))
	assert.Equal(t, commands[2:3], runs.Missing(commands, docstest.CLI))
}

func TestCommands(t *testing.T) {
	commands, err := docstest.Commands("../../..")
	require.NoError(t, err)
	assert.Contains(t, commands, docstest.Command{Page: "README.md", Words: []string{"completion", "bash"}})
	assert.Contains(t, commands, docstest.Command{Page: "README.md", Words: []string{"build", "-o", "vote.tar"}})
}
