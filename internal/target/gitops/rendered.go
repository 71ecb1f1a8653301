package gitops

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/go-git/go-git/v5/plumbing/object"
	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/git"
)

// renderedLimit bounds the diff in a pull request: GitHub takes 65,536 characters for the whole text.
const renderedLimit = 30_000

// renderedDiff is how the objects change that the path's kustomization gives, without the values of Secrets. It is "" where
// the path is no kustomization, and where that cannot be rendered offline.
func (o BumpOptions) renderedDiff(ctx context.Context, c *git.Clone, base *object.Commit, made git.MadeCommit) (string, error) {
	after, err := c.Commit(made.Hash)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, commit := range []*object.Commit{base, after} {
		text, err := o.rendered(ctx, c, commit)
		if errors.Is(err, manifest.ErrNotRendered) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		texts = append(texts, text)
	}
	unified := udiff.Unified("before", "after", texts[0], texts[1])
	if len(unified) > renderedLimit {
		unified = unified[:strings.LastIndexByte(unified[:renderedLimit], '\n')+1] + "… and more\n"
	}
	return unified, nil
}

// rendered returns the objects of the path at a commit.
func (o BumpOptions) rendered(ctx context.Context, c *git.Clone, commit *object.Commit) (string, error) {
	tree, err := c.Tree(commit)
	if err != nil {
		return "", err
	}
	dir := pathOrRoot(o.Path)
	if o.Check.Build == nil || !isKustomization(tree, dir) {
		return "", nil
	}
	stream, err := o.Check.Build(ctx, tree, dir)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for document := range bytes.SplitSeq(stream, []byte("\n---\n")) {
		text, err := withoutSecrets(document)
		if err != nil {
			return "", err
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return out.String(), nil
}

func isKustomization(tree fs.FS, dir string) bool {
	for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
		if info, err := fs.Stat(tree, path.Join(dir, name)); err == nil && !info.IsDir() {
			return true
		}
	}
	return false
}

// withoutSecrets hides the values of a Secret.
func withoutSecrets(document []byte) ([]byte, error) {
	var o map[string]any
	if err := yaml.Unmarshal(document, &o); err != nil {
		return nil, err
	}
	if o["kind"] == "Secret" {
		for _, field := range []string{"data", "stringData"} {
			values, _ := o[field].(map[string]any)
			for name := range values {
				values[name] = "(hidden)"
			}
		}
	}
	return yaml.Marshal(o)
}
