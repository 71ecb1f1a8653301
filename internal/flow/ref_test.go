package flow

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
)

// repository is a git repository with an aksflow.yaml and an app.
type repository struct {
	t    *testing.T
	dir  string
	repo *git.Repository
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t: t, dir: t.TempDir()}
	var err error
	r.repo, err = git.PlainInit(r.dir, false)
	require.NoError(t, err)
	r.write("aksflow.yaml", configuration+"build: {context: app}\n")
	r.write("app/Dockerfile", "FROM scratch\n")
	r.commit()
	return r
}

func (r *repository) write(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(r.t, os.WriteFile(path, []byte(content), 0o600))
}

func (r *repository) commit() string {
	r.t.Helper()
	tree, err := r.repo.Worktree()
	require.NoError(r.t, err)
	require.NoError(r.t, tree.AddWithOptions(&git.AddOptions{All: true}))
	who := &object.Signature{Name: "Test", Email: "test@example.com", When: time.Unix(1_700_000_000, 0)}
	hash, err := tree.Commit("Change", &git.CommitOptions{Author: who, Committer: who})
	require.NoError(r.t, err)
	return hash.String()
}

// open opens a delivery by its git ref, and returns the warnings beside it.
func (r *repository) open(gitRef string) (*Delivery, []string) {
	r.t.Helper()
	var warnings []string
	ctx := report.With(r.t.Context(), report.SinkFunc(func(e report.Event) {
		if e.Kind == report.Warning {
			warnings = append(warnings, e.Message)
		}
	}))
	d, err := open(ctx, Request{
		Config: filepath.Join(r.dir, "aksflow.yaml"), ByRef: true, Ref: gitRef,
		Variables: func(string) (string, bool) { return "", false },
	}, []namedTarget{{"push", fake{}}, {"pull", fake{}}})
	require.NoError(r.t, err)
	return d, warnings
}

func TestATagIsFoundWhereACommitIsCheckedOut(t *testing.T) {
	r := newRepository(t)
	head, err := r.repo.Head()
	require.NoError(t, err)
	who := &object.Signature{Name: "Test", Email: "test@example.com", When: time.Unix(1_700_000_000, 0)}
	for name, options := range map[string]*git.CreateTagOptions{
		"nightly": nil, "v1.9.0": nil, "v1.10.0": {Tagger: who, Message: "Release"}, "v2.0.0-rc.1": nil,
	} {
		_, err = r.repo.CreateTag(name, head.Hash(), options)
		require.NoError(t, err)
	}
	tree, err := r.repo.Worktree()
	require.NoError(t, err)
	require.NoError(t, tree.Checkout(&git.CheckoutOptions{Hash: head.Hash()}))

	d, _ := r.open("")
	assert.Equal(t, "prod", d.Decision.Environment, d.Decision.Reason)
	assert.Equal(t, "1.10.0", d.Decision.Version, "the highest release of the commit, and no pre-release")
	assert.Equal(t, []string{"1.10.0", "v1.10.0"}, d.Decision.Tags)

	d, _ = r.open("refs/heads/feature/x")
	assert.Empty(t, d.Decision.Environment, "what the CI system says wins over tags")
}

func TestACommitWithoutATagIsNotDelivered(t *testing.T) {
	r := newRepository(t)
	head, err := r.repo.Head()
	require.NoError(t, err)
	tree, err := r.repo.Worktree()
	require.NoError(t, err)
	require.NoError(t, tree.Checkout(&git.CheckoutOptions{Hash: head.Hash()}))
	d, _ := r.open("")
	assert.Empty(t, d.Decision.Environment)
	assert.Contains(t, d.Decision.Reason, "no branch or tag is checked out")
}

func TestTheVersionIsThatOfTheSource(t *testing.T) {
	r := newRepository(t)
	before, _ := r.open("develop")
	r.write("README.md", "More words.\n")
	r.commit()
	after, _ := r.open("develop")
	assert.Equal(t, before.Decision.Version, after.Decision.Version, "the image is the same: so is its version")

	r.write("app/main.py", "print(1)\n")
	r.commit()
	changed, _ := r.open("develop")
	assert.NotEqual(t, before.Decision.Version, changed.Decision.Version)
}

func TestADirtyWorkTreeIsWarnedOfAndRecorded(t *testing.T) {
	r, digest := newRepository(t), strings.Repeat("0123456789abcdef", 4)
	clean, warnings := r.open("develop")
	assert.Empty(t, warnings)
	source, err := clean.source(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{source.Commit[:12], clean.Decision.Version, "develop"}, clean.tags(source, digest))

	r.write("app/main.py", "print(1)\n")
	d, warnings := r.open("develop")
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "app has changes that are not committed: what is delivered is recorded as "+source.Commit[:12]+"-dirty")
	source, err = d.source(t.Context())
	require.NoError(t, err)
	assert.True(t, source.Dirty)
	assert.True(t, strings.HasSuffix(d.release(source).Source.Revision(), "-dirty"), "history and trailers say so")
	assert.Equal(t, []string{"dirty-0123456789ab", d.Decision.Version}, d.tags(source, digest), "no tag claims that this is the commit or the branch")
	assert.True(t, strings.HasSuffix(d.Decision.Version, "-dirty"))

	result, err := d.run(t.Context(), "")
	require.NoError(t, err)
	assert.True(t, result.Source.Dirty, "JSON says so")
}

func TestAShallowCloneIsWarnedOf(t *testing.T) {
	r := newRepository(t)
	r.write("README.md", "More words.\n")
	r.commit()
	shallow := &repository{t: t, dir: t.TempDir()}
	var err error
	shallow.repo, err = git.PlainCloneContext(context.Background(), shallow.dir, false, &git.CloneOptions{URL: r.dir, Depth: 1})
	require.NoError(t, err)

	_, warnings := shallow.open("develop")
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "fetch-depth: 0")
	_, warnings = r.open("develop")
	assert.Empty(t, warnings)
}
