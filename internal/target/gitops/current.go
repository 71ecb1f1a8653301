package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/target"
)

// Current implements target.Target: the image on the branch that the operator follows, and the commit that brought it. That
// the operator has applied it is for wait to find out.
func (t Target) Current(ctx context.Context, env *delivery.Environment) (_ target.Running, err error) {
	options := bumpOptions(delivery.Release{Env: env}, target.Options{})
	options.Target.Image = env.Repository + ":any" // only the repository is needed to find references
	if err := seed(ctx, env); err != nil {
		return target.Running{}, err
	}
	clone, err := options.Remote.Open(ctx)
	if err != nil {
		return target.Running{}, err
	}
	defer func() { err = errors.Join(err, clone.Close()) }()
	tips, _, err := clone.Fetch(ctx, git.BranchName(options.Branch))
	if err != nil {
		return target.Running{}, err
	}
	if tips[0].IsZero() {
		return target.Running{}, fmt.Errorf("%s has no branch %s: create it, or name another with gitops.branch", env.GitOps.Repo, options.Branch)
	}
	history, err := clone.History(tips[0])
	if err != nil {
		return target.Running{}, err
	}
	now, err := options.delivered(ctx, clone, history[0])
	if err != nil || now == "" {
		return target.Running{}, err
	}
	by := history[0]
	for _, commit := range history[1:] {
		if earlier, err := options.delivered(ctx, clone, commit); err != nil || earlier != now {
			break
		}
		by = commit
	}
	return target.Running{Image: now, Source: sourceTrailer(clone, by), Since: by.Committer.When}, nil
}

// delivered returns the reference that the manifests have at a commit; "" where none has a digest. References with different
// digests are an error.
func (o BumpOptions) delivered(ctx context.Context, c *git.Clone, commit *object.Commit) (string, error) {
	tree, err := c.Tree(commit)
	if err != nil {
		return "", err
	}
	seen, err := manifest.Find(ctx, tree, pathOrRoot(o.Path), o.Target)
	if err != nil {
		return "", err
	}
	seen = slices.DeleteFunc(seen, func(s manifest.Seen) bool { return ref.Read(s.Image).Digest == "" })
	if len(seen) == 0 {
		return "", nil
	}
	for _, s := range seen[1:] {
		if ref.Read(s.Image).Digest != ref.Read(seen[0].Image).Digest {
			return "", fmt.Errorf("%s of %s has two images: %s:%d has %s, and %s:%d has %s: bump it to one of them",
				pathOrRoot(o.Path), o.Remote.URL, seen[0].File, seen[0].Line, seen[0].Image, s.File, s.Line, s.Image)
		}
	}
	return seen[0].Image, nil
}

// sourceTrailer returns the commit that an image was built from, as the commit that set it says.
func sourceTrailer(c *git.Clone, by *object.Commit) string {
	for _, message := range messages(c, by) {
		for line := range strings.Lines(message) {
			if source, found := strings.CutPrefix(strings.TrimSpace(line), trailerSource+": "); found {
				return source
			}
		}
	}
	return ""
}
