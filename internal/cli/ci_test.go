package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/page"
)

func TestOutputs(t *testing.T) {
	for name, tt := range map[string]struct {
		result withOutputs
		want   string
	}{
		"plan":              {planResult{&flow.Plan{Environment: "dev", Target: "push", Image: "vote"}}, "environment=dev\ntarget=push\n"},
		"build into a file": {buildResult{&delivery.Built{Tarball: "vote.tar", Digest: "sha256:abc", Revision: "1a2b"}}, "digest=sha256:abc\n"},
		"build":             {buildResult{&delivery.Built{Revision: "1a2b"}}, ""},
		"publish": {
			publishResult{&delivery.Published{Image: "host/vote@sha256:abc", Digest: "sha256:abc", Tags: []string{"1a2b"}}},
			"image=host/vote@sha256:abc\ndigest=sha256:abc\n",
		},
		"bump of a branch": {bumpResult{&delivery.Bumped{Commit: "1a2b"}}, "commit=1a2b\n"},
		"bump by pull request": {
			bumpResult{&delivery.Bumped{Commit: "1a2b", PullRequest: "https://github.com/team/vote/pull/7"}},
			"commit=1a2b\npull-request=https://github.com/team/vote/pull/7\n",
		},
		"deploy":             {deployResult{&delivery.Deployed{Revision: 7}}, "revision=7\nrolled-back=false\n"},
		"deploy that failed": {deployResult{&delivery.Deployed{Revision: 6, RolledBack: true}}, "revision=6\nrolled-back=true\n"},
		"deliver by push": {
			deliverResult{&flow.Result{Image: "host/vote@sha256:abc", Environment: "dev", Target: "push", Revision: 7, Delivered: true}},
			"image=host/vote@sha256:abc\ndigest=sha256:abc\nenvironment=dev\ntarget=push\nrevision=7\ndelivered=true\nrolled-back=false\n",
		},
		"deliver by pull": {
			deliverResult{&flow.Result{Image: "host/vote@sha256:abc", Environment: "production", Target: "pull", Commit: "1a2b"}},
			"image=host/vote@sha256:abc\ndigest=sha256:abc\nenvironment=production\ntarget=pull\ncommit=1a2b\ndelivered=false\n",
		},
		"deliver that built no image": {
			deliverResult{&flow.Result{Environment: "dev", Target: "push"}}, "environment=dev\ntarget=push\ndelivered=false\n",
		},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, report.FormatOutputs(tt.result.outputs())) })
	}
}

func TestWriteCI(t *testing.T) {
	dir := t.TempDir()
	output := filepath.Join(dir, "output")
	require.NoError(t, os.WriteFile(output, []byte("before=1\n"), 0o600))
	t.Setenv("GITHUB_OUTPUT", output)
	t.Setenv("GITHUB_STEP_SUMMARY", dir) // no file can be written there
	var log bytes.Buffer
	ctx := report.With(context.Background(), report.NewPlain(&log, false))
	g := &globals{}

	g.writeCI(ctx, nil)
	g.writeCI(ctx, deliverResult{})
	g.writeCI(ctx, downResult{})
	assert.Empty(t, log.String())
	result := &flow.Result{Environment: "dev", Target: "push"}
	g.page = &page.Run{Verb: "deliver", Environment: "dev", Target: "push"}
	g.writeCI(ctx, deliverResult{result})

	data, err := os.ReadFile(output)
	require.NoError(t, err)
	assert.Equal(t, "before=1\nenvironment=dev\ntarget=push\ndelivered=false\n", string(data))
	assert.Contains(t, log.String(), "! writing to GITHUB_STEP_SUMMARY: ")

	t.Setenv("GITHUB_OUTPUT", "")
	g.page = nil
	g.writeCI(ctx, publishResult{&delivery.Published{Image: "host/vote@sha256:abc"}})
	assert.NotContains(t, log.String(), "GITHUB_OUTPUT", "elsewhere there is no such file")
}

func TestWriteCIOnAzurePipelines(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GITHUB_STEP_SUMMARY", "")
	t.Setenv("TF_BUILD", "True")
	t.Setenv("AGENT_TEMPDIRECTORY", dir)
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	g := &globals{stderr: log, page: &page.Run{Verb: "deliver", Environment: "dev", Target: "push", Err: errors.New("no")}}
	g.writeCI(context.Background(), deliverResult{})

	command, err := os.ReadFile(log.Name())
	require.NoError(t, err)
	path, found := strings.CutPrefix(strings.TrimSpace(string(command)), "##vso[task.uploadsummary]")
	require.True(t, found, "%s", command)
	summary, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(summary), "### ✘ Not delivered to dev (push)\n")
}
