package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/client/llb"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// sides are the directories that a changeset is between.
func (b *build) sides(ctx context.Context, n *api.Node) (before, after *directory, err error) {
	if before, err = b.directory(ctx, b.engine.api.Must(n.Args.Str("from"))); err != nil {
		return nil, nil, err
	}
	after, err = b.directory(ctx, n.Parent)
	return before, after, err
}

// diff is what a directory has and an older one has not, or has otherwise.
func diff(before, after *directory) *directory {
	older, newer := before.whole(), after.whole()
	return &directory{
		tree: tree{state: llb.Diff(older.state, newer.state, llb.WithCustomName(progress.InternalPrefix+"diff")), steps: append(older.steps, newer.steps...)},
		path: "/",
	}
}

// changes compares the two sides of a changeset, at the daemon.
func (b *build) changes(ctx context.Context, n *api.Node) (*contract.Changes, error) {
	before, after, err := b.sides(ctx, n)
	if err != nil {
		return nil, err
	}
	older, newer := before.whole(), after.whole()
	run := llb.Scratch().Run(
		llb.Args([]string{contract.Shim, "changes", contract.Before, contract.After, contract.Out}),
		llb.WithCustomName(progress.InternalPrefix+"compare directories"),
		llb.AddMount(contract.Shim, shimState(b.engine), llb.SourcePath(shimName), llb.Readonly),
		llb.AddMount(contract.Before, older.state, llb.Readonly),
		llb.AddMount(contract.After, newer.state, llb.Readonly))
	output := tree{state: bare(run.AddMount(contract.Out, outState, llb.SourcePath(outDir))), steps: append(older.steps, newer.steps...)}
	data, err := b.read(ctx, output, b.platform(), outDir+"/"+contract.ChangesFile)
	if err != nil {
		return nil, err
	}
	var c contract.Changes
	return &c, json.Unmarshal(data, &c)
}

// changed makes a leaf of a question about a changeset.
func changed(f func(*contract.Changes) any) leaf {
	return reading(func(ctx context.Context, b *build, n *api.Node, _ api.Args) (any, error) {
		c, err := b.changes(ctx, n)
		if err != nil {
			return nil, err
		}
		return f(c), nil
	})
}

// exportChanges writes what was added and modified to a directory of the host, and removes from it what was removed.
func exportChanges(ctx context.Context, e *Engine, n *api.Node, a api.Args) (any, error) {
	dest, err := filepath.Abs(a.Str("path"))
	if err != nil {
		return nil, err
	}
	var c *contract.Changes
	if _, err := e.run(ctx, nil, func(ctx context.Context, b *build) (_ *result, err error) {
		c, err = b.changes(ctx, n)
		return nil, err
	}); err != nil {
		return nil, err
	}
	for _, p := range c.Removed {
		if !filepath.IsLocal(p) {
			return nil, fmt.Errorf("export: %q is not below the directory", p)
		}
		if err := os.RemoveAll(filepath.Join(dest, p)); err != nil {
			return nil, fmt.Errorf("export: %w", err)
		}
	}
	return exportDirectory(ctx, e, e.api.Child(n, "Directory", "layer", nil), api.Args{"path": dest})
}
