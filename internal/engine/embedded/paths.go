package embedded

import (
	"context"
	"io/fs"
	"path"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/patternmatcher"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// withNewDirectory makes a directory with the argument permissions.
func (t tree) withNewDirectory(p string, a api.Args) tree {
	mode, _ := a.Num("permissions")
	mkdir := llb.Mkdir(p, fs.FileMode(mode), llb.WithParents(true))
	return tree{state: t.state.File(mkdir, llb.WithCustomName("make "+p)), steps: t.steps}
}

// without removes what is at paths, each of which may be a pattern. What is not there need not be removed.
func (t tree) without(paths ...string) tree {
	if t.state.Output() == nil {
		return t
	}
	for _, p := range paths {
		rm := llb.Rm(p, llb.WithAllowNotFound(true), llb.WithAllowWildcard(true))
		t = tree{state: t.state.File(rm, llb.WithCustomName("remove "+p)), steps: t.steps}
	}
	return t
}

// removed are the paths that withoutFile, withoutFiles and withoutDirectory name.
func removed(a api.Args) []string {
	if p := a.Str("path"); p != "" {
		return []string{p}
	}
	return a.List("paths")
}

func withoutPaths(_ context.Context, _ *build, c *container, a api.Args) error {
	for _, p := range removed(a) {
		if err := c.change(p, func(t tree, inside string) tree { return t.without(inside) }); err != nil {
			return err
		}
	}
	return nil
}

func withFiles(ctx context.Context, b *build, c *container, a api.Args) error {
	files, err := b.sources(ctx, a)
	if err != nil {
		return err
	}
	if a, err = b.numericOwner(ctx, c, a); err != nil {
		return err
	}
	return c.change(a.Str("path"), func(t tree, inside string) tree { return t.withFiles(inside, files, a) })
}

// sources are the files that withFiles copies.
func (b *build) sources(ctx context.Context, a api.Args) ([]*file, error) {
	var files []*file
	for _, id := range a.List("sources") {
		f, err := b.placed(ctx, b.engine.api.Must(id))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func (t tree) withFiles(p string, files []*file, a api.Args) tree {
	for _, f := range files {
		t = t.withFile(path.Join(p, f.base()), f, a)
	}
	return t
}

func withRootfs(ctx context.Context, b *build, c *container, a api.Args) error {
	d, err := b.directory(ctx, b.engine.api.Must(a.Str("directory")))
	if err != nil {
		return err
	}
	c.root = d.whole()
	return nil
}

// whole is the directory as a tree of its own.
func (d *directory) whole() tree {
	if d.path == "/" {
		return d.tree
	}
	return tree{state: llb.Scratch()}.withDirectory("/", d, nil)
}

// glob returns the paths in a directory that match a pattern, those of directories with a slash at the end.
func glob(ctx context.Context, b *build, n *api.Node, a api.Args) (any, error) {
	d, err := b.directory(ctx, n)
	if err != nil {
		return nil, err
	}
	pattern, err := patternmatcher.New([]string{a.Str("pattern")})
	if err != nil {
		return nil, err
	}
	matches := []string{}
	ref, err := b.solve(ctx, d.tree, b.platform())
	if err != nil || ref == nil {
		return matches, err
	}
	var walk func(dir string) error
	walk = func(dir string) error {
		list, err := ref.ReadDir(ctx, gateway.ReadDirRequest{Path: path.Join(d.path, dir)})
		if err != nil {
			return err
		}
		for _, stat := range list {
			name := path.Join(dir, path.Base(stat.Path))
			isDir := fs.FileMode(stat.Mode).IsDir()
			//lint:ignore SA1019 Its successors match what stands below a match as well. Here the path itself has to match.
			found, err := pattern.MatchesUsingParentResult(name, false)
			if err != nil {
				return err
			}
			if found && isDir {
				matches = append(matches, name+"/")
			} else if found {
				matches = append(matches, name)
			}
			if isDir {
				if err := walk(name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return matches, walk("")
}

// existsIn answers whether a directory has something at a path, of the expected kind.
func existsIn(ctx context.Context, b *build, n *api.Node, a api.Args) (any, error) {
	d, err := b.directory(ctx, n)
	if err != nil {
		return nil, err
	}
	return b.exists(ctx, d.tree, b.platform(), path.Join(d.path, path.Join("/", a.Str("path"))), a)
}

// directoryName answers the last part of a directory's path.
func directoryName(ctx context.Context, b *build, n *api.Node, _ api.Args) (any, error) {
	d, err := b.directory(ctx, n)
	if err != nil {
		return nil, err
	}
	return path.Base(d.path), nil
}
