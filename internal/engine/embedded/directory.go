package embedded

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/moby/buildkit/client/llb"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
)

// directory is what a Directory stands for.
type directory struct {
	tree tree
	path string // inside tree
}

// directory works out a Directory.
func (b *build) directory(ctx context.Context, n *api.Node) (*directory, error) {
	return memoized(b, n, func() (*directory, error) {
		switch n.Parent.Type {
		case "Query":
			return &directory{tree: tree{state: llb.Scratch()}, path: "/"}, nil
		case "Host":
			return b.hostDirectory(n)
		case "GitRef":
			return b.gitTree(ctx, n)
		case "Container":
			return b.containerDirectory(ctx, n)
		case "Changeset":
			before, after, err := b.sides(ctx, n.Parent)
			if err != nil {
				return nil, err
			}
			return map[string]*directory{"before": before, "after": after, "layer": diff(before, after)}[n.Field], nil
		}
		return b.changedDirectory(ctx, n)
	})
}

// containerDirectory is a directory in a container.
func (b *build) containerDirectory(ctx context.Context, n *api.Node) (*directory, error) {
	c, err := b.container(ctx, n.Parent)
	if err != nil {
		return nil, err
	}
	if n.Field == "rootfs" {
		return &directory{tree: c.root, path: "/"}, nil
	}
	given, err := c.expand(n.Args)
	if err != nil {
		return nil, err
	}
	t, inside, err := c.place(given.Str("path"))
	if err != nil {
		return nil, err
	}
	return &directory{tree: *t, path: inside}, nil
}

// changedDirectory is what a field of a Directory makes of it.
func (b *build) changedDirectory(ctx context.Context, n *api.Node) (*directory, error) {
	parent, err := b.directory(ctx, n.Parent)
	if err != nil {
		return nil, err
	}
	a := n.Args
	if owner := a.Str("owner"); owner != "" && !numeric.MatchString(owner) {
		return nil, fmt.Errorf("owner %q: a directory knows no names: say it in numbers, as 1000:1000", owner)
	}
	d := *parent
	inside := path.Join(d.path, path.Join("/", a.Str("path")))
	switch n.Field {
	case "directory":
		d.path = inside
	case "withNewFile":
		d.tree = d.tree.withNewFile(inside, a)
	case "withNewDirectory":
		d.tree = d.tree.withNewDirectory(inside, a)
	case "withoutFile", "withoutFiles", "withoutDirectory":
		for _, p := range removed(a) {
			d.tree = d.tree.without(path.Join(d.path, path.Join("/", p)))
		}
	case "filter":
		d = directory{tree: tree{state: llb.Scratch()}.withDirectory("/", parent, a), path: "/"}
	case "withTimestamps":
		d.tree.state, d.path = withTimestamps(d.tree.state, d.path, a), "/"
	case "withDirectory", "diff":
		other, err := b.directory(ctx, b.engine.api.Must(a.Str("source")+a.Str("other"))) // each has one of them
		if err != nil {
			return nil, err
		}
		if n.Field == "diff" {
			return diff(parent, other), nil
		}
		d.tree = d.tree.withDirectory(inside, other, a)
	case "withFile":
		source, err := b.placed(ctx, b.engine.api.Must(a.Str("source")))
		if err != nil {
			return nil, err
		}
		d.tree = d.tree.withFile(inside, source, a)
	case "withFiles":
		files, err := b.sources(ctx, a)
		if err != nil {
			return nil, err
		}
		d.tree = d.tree.withFiles(inside, files, a)
	default:
		return nil, fmt.Errorf("field Directory.%s stands in the schema and is not implemented", n.Field)
	}
	return &d, nil
}

// numeric matches an owner that names nobody.
var numeric = regexp.MustCompile(`^[0-9]+(:[0-9]+)?$`)

// withNewFile adds a file with the arguments contents, permissions and owner.
func (t tree) withNewFile(p string, a api.Args) tree {
	mode, _ := a.Num("permissions")
	opts := []llb.MkfileOption{}
	if owner := a.Str("owner"); owner != "" {
		opts = append(opts, llb.WithUser(owner))
	}
	file := llb.Mkfile(p, fs.FileMode(mode), []byte(a.Str("contents")), opts...)
	if dir := path.Dir(p); dir != "/" {
		file = llb.Mkdir(dir, 0o755, llb.WithParents(true)).Mkfile(p, fs.FileMode(mode), []byte(a.Str("contents")), opts...)
	}
	return tree{state: t.state.File(file, llb.WithCustomName("write "+p)), steps: t.steps}
}

// withDirectory copies a directory's content with the arguments include, exclude and owner.
func (t tree) withDirectory(p string, source *directory, a api.Args) tree {
	info := &llb.CopyInfo{
		CopyDirContentsOnly: true,
		CreateDestPath:      true,
		IncludePatterns:     a.List("include"),
		ExcludePatterns:     a.List("exclude"),
	}
	return t.copyFrom(source.tree, source.path, p, info, a)
}

// withFile copies a file with the arguments permissions and owner.
func (t tree) withFile(p string, source *file, a api.Args) tree {
	info := &llb.CopyInfo{CreateDestPath: true}
	if mode, ok := a.Num("permissions"); ok {
		info.Mode = &llb.ChmodOpt{Mode: fs.FileMode(mode)}
	}
	return t.copyFrom(*source.tree, source.path, p, info, a)
}

func (t tree) copyFrom(source tree, from, to string, info *llb.CopyInfo, a api.Args) tree {
	opts := []llb.CopyOption{info}
	if owner := a.Str("owner"); owner != "" {
		opts = append(opts, llb.WithUser(owner).(llb.CopyOption))
	}
	if source.state.Output() == nil { // nothing to copy; the directory is still there afterwards
		if to == "/" {
			return t
		}
		mkdir := llb.Mkdir(to, 0o755, llb.WithParents(true))
		return tree{state: t.state.File(mkdir, llb.WithCustomName("make "+to)), steps: t.steps}
	}
	return tree{
		state: t.state.File(llb.Copy(source.state, from, to, opts...), llb.WithCustomName("copy to "+to)),
		steps: slices.Concat(t.steps, source.steps),
	}
}

// hostSource is a directory of the host as the SDK's arguments describe it.
type hostSource struct {
	path             string // absolute
	include, exclude []string
	name             string // under which BuildKit asks for it
}

func (e *Engine) hostSource(n *api.Node) (hostSource, error) {
	p, err := filepath.Abs(n.Args.Str("path"))
	if err != nil {
		return hostSource{}, err
	}
	info, err := os.Stat(p)
	if err != nil {
		return hostSource{}, fmt.Errorf("host directory: %w", err)
	}
	if !info.IsDir() {
		return hostSource{}, fmt.Errorf("host directory: %s is not a directory", p)
	}
	s := hostSource{path: p, include: n.Args.List("include"), exclude: n.Args.List("exclude")}
	once := ""
	if n.Args.Flag("noCache") {
		once = n.ID
	}
	s.name = e.hosts.Add(p, once)
	return s, nil
}

// state is the directory as BuildKit fetches it: once a session, and only what changed since the last one.
func (s hostSource) state(e *Engine, label string, excludeToo []string, opts ...llb.LocalOption) llb.State {
	opts = append([]llb.LocalOption{
		llb.SessionID(e.session.ID()),
		llb.WithCustomName(progress.InternalPrefix + label),
	}, opts...)
	exclude := append(s.exclude[:len(s.exclude):len(s.exclude)], excludeToo...)
	if len(s.include) > 0 {
		opts = append(opts, llb.IncludePatterns(s.include))
	}
	if len(exclude) > 0 {
		opts = append(opts, llb.ExcludePatterns(exclude))
	}
	// Directories that differ in what is left out share no copy at the daemon: each would undo the other's.
	opts = append(opts, llb.SharedKeyHint(api.Hash([]any{s.path, label, s.include, exclude})))
	return llb.Local(s.name, opts...)
}

// withTimestamps returns a copy of a directory in which all files have one time.
func withTimestamps(of llb.State, dir string, a api.Args) llb.State {
	if of.Output() == nil {
		return of // nothing is in it
	}
	seconds, _ := a.Num("timestamp")
	return llb.Scratch().File(
		llb.Copy(of, dir, "/", &llb.CopyInfo{CopyDirContentsOnly: true}, llb.WithCreatedTime(time.Unix(int64(seconds), 0))),
		llb.WithCustomName(progress.InternalPrefix+"set times"))
}

// hostDirectory copies the directory once more, at the daemon: what is fetched is known by its session, the copy by its
// content.
func (b *build) hostDirectory(n *api.Node) (*directory, error) {
	s, err := b.engine.hostSource(n)
	if err != nil {
		return nil, err
	}
	b.engine.hosts.Reads(s.path, s.exclude)
	state := llb.Scratch().File(
		llb.Copy(s.state(b.engine, "read "+s.path, nil), "/", "/", &llb.CopyInfo{CopyDirContentsOnly: true}),
		llb.WithCustomName(progress.InternalPrefix+"read "+s.path))
	return &directory{tree: tree{state: state}, path: "/"}, nil
}
