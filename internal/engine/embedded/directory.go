package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commonexptypes "github.com/moby/buildkit/exporter/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher/ignorefile"
)

// directory is what a Directory stands for.
type directory struct {
	tree tree
	path string // inside tree
}

// directory works out a Directory.
func (b *build) directory(ctx context.Context, n *node) (*directory, error) {
	return memoized(b, n, func() (*directory, error) {
		switch n.parent.typ {
		case "Query":
			return &directory{tree: tree{state: llb.Scratch()}, path: "/"}, nil
		case "Host":
			return b.hostDirectory(n)
		case "Container":
			c, err := b.container(ctx, n.parent)
			if err != nil {
				return nil, err
			}
			t, inside, err := c.place(n.args.str("path"))
			if err != nil {
				return nil, err
			}
			return &directory{tree: *t, path: inside}, nil
		}
		parent, err := b.directory(ctx, n.parent)
		if err != nil {
			return nil, err
		}
		if owner := n.args.str("owner"); owner != "" && !numeric.MatchString(owner) {
			return nil, fmt.Errorf("owner %q: a directory knows no names: say it in numbers, as 1000:1000", owner)
		}
		d := *parent
		inside := path.Join(d.path, path.Join("/", n.args.str("path")))
		switch n.field {
		case "directory":
			d.path = inside
		case "withNewFile":
			d.tree = d.tree.withNewFile(inside, n.args)
		case "withDirectory":
			source, err := b.directory(ctx, b.engine.must(n.args.str("source")))
			if err != nil {
				return nil, err
			}
			d.tree = d.tree.withDirectory(inside, source, n.args)
		case "withFile":
			source, err := b.file(ctx, b.engine.must(n.args.str("source")))
			if err != nil {
				return nil, err
			}
			if source.tree == nil {
				return nil, errors.New("withFile: the embedded engine cannot put an image tarball into a directory")
			}
			d.tree = d.tree.withFile(inside, source, n.args)
		default:
			return nil, fmt.Errorf("field Directory.%s stands in the schema and is not implemented", n.field)
		}
		return &d, nil
	})
}

// numeric matches an owner that names nobody.
var numeric = regexp.MustCompile(`^[0-9]+(:[0-9]+)?$`)

// withNewFile adds a file with the arguments contents, permissions and owner.
func (t tree) withNewFile(p string, a args) tree {
	mode, _ := a.num("permissions")
	opts := []llb.MkfileOption{}
	if owner := a.str("owner"); owner != "" {
		opts = append(opts, llb.WithUser(owner))
	}
	file := llb.Mkfile(p, fs.FileMode(mode), []byte(a.str("contents")), opts...)
	if dir := path.Dir(p); dir != "/" {
		file = llb.Mkdir(dir, 0o755, llb.WithParents(true)).Mkfile(p, fs.FileMode(mode), []byte(a.str("contents")), opts...)
	}
	return tree{state: t.state.File(file, llb.WithCustomName("write "+p)), steps: t.steps}
}

// withDirectory copies a directory's content with the arguments include, exclude and owner.
func (t tree) withDirectory(p string, source *directory, a args) tree {
	info := &llb.CopyInfo{
		CopyDirContentsOnly: true,
		CreateDestPath:      true,
		IncludePatterns:     a.list("include"),
		ExcludePatterns:     a.list("exclude"),
	}
	return t.copyFrom(source.tree, source.path, p, info, a)
}

// withFile copies a file with the arguments permissions and owner.
func (t tree) withFile(p string, source *file, a args) tree {
	info := &llb.CopyInfo{CreateDestPath: true}
	if mode, ok := a.num("permissions"); ok {
		info.Mode = &llb.ChmodOpt{Mode: fs.FileMode(mode)}
	}
	return t.copyFrom(*source.tree, source.path, p, info, a)
}

func (t tree) copyFrom(source tree, from, to string, info *llb.CopyInfo, a args) tree {
	opts := []llb.CopyOption{info}
	if owner := a.str("owner"); owner != "" {
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

func (e *Engine) hostSource(n *node) (hostSource, error) {
	p, err := filepath.Abs(n.args.str("path"))
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
	s := hostSource{path: p, include: n.args.list("include"), exclude: n.args.list("exclude")}
	once := ""
	if n.args.flag("noCache") {
		once = n.id
	}
	s.name = e.hosts.add(p, once)
	return s, nil
}

// state is the directory as BuildKit fetches it: once a session, and only what changed since the last one.
func (s hostSource) state(e *Engine, label string, excludeToo []string, opts ...llb.LocalOption) llb.State {
	opts = append([]llb.LocalOption{
		llb.SessionID(e.session.ID()),
		llb.WithCustomName(internalPrefix + label),
	}, opts...)
	exclude := append(s.exclude[:len(s.exclude):len(s.exclude)], excludeToo...)
	if len(s.include) > 0 {
		opts = append(opts, llb.IncludePatterns(s.include))
	}
	if len(exclude) > 0 {
		opts = append(opts, llb.ExcludePatterns(exclude))
	}
	// Directories that differ in what is left out share no copy at the daemon: each would undo the other's.
	opts = append(opts, llb.SharedKeyHint(hash([]any{s.path, label, s.include, exclude})))
	return llb.Local(s.name, opts...)
}

// hostDirectory copies the directory once more, at the daemon: what is fetched is known by its session, the copy by its
// content.
func (b *build) hostDirectory(n *node) (*directory, error) {
	s, err := b.engine.hostSource(n)
	if err != nil {
		return nil, err
	}
	state := llb.Scratch().File(
		llb.Copy(s.state(b.engine, "read "+s.path, nil), "/", "/", &llb.CopyInfo{CopyDirContentsOnly: true}),
		llb.WithCustomName(internalPrefix+"read "+s.path))
	return &directory{tree: tree{state: state}, path: "/"}, nil
}

// dockerBuild builds a Dockerfile with the daemon's own frontend. A "# syntax=" line would fetch another one from the
// internet, and is ignored.
func (b *build) dockerBuild(ctx context.Context, n *node) (*container, error) {
	p, err := b.platformArg(n.args)
	if err != nil {
		return nil, err
	}
	dockerfile := path.Clean(n.args.str("dockerfile"))
	opt := map[string]string{
		"filename": dockerfile,
		"platform": platforms.Format(p),
		"cmdline":  "dockerfile.v0", // says that the syntax line was dealt with
	}
	if target := n.args.str("target"); target != "" {
		opt["target"] = target
	}
	buildArgs, _ := n.args["buildArgs"].([]any)
	for _, arg := range buildArgs {
		a := args(arg.(map[string]any))
		opt["build-arg:"+a.str("name")] = a.str("value")
	}
	for _, id := range n.args.list("secrets") {
		if err := b.engine.buildSecret(b.engine.must(id)); err != nil {
			return nil, err
		}
	}

	inputs, steps, err := b.buildContext(ctx, n.parent, dockerfile)
	if err != nil {
		return nil, err
	}
	b.need(tree{steps: steps}.needs())
	definitions := map[string]*pb.Definition{}
	for name, st := range inputs {
		def, err := st.Marshal(ctx, llb.Platform(b.platform()))
		if err != nil {
			return nil, err
		}
		definitions[name] = def.ToPB()
	}
	r, err := b.gateway.Solve(ctx, gateway.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: opt, FrontendInputs: definitions})
	if err != nil {
		return nil, err
	}
	c := &container{platform: p, epoch: r.Metadata[commonexptypes.ExporterEpochKey]}
	if err := c.setImage(r.Metadata[exptypes.ExporterImageConfigKey], tree{state: llb.Scratch(), steps: steps}); err != nil {
		return nil, err
	}
	ref, err := r.SingleRef()
	if err != nil {
		return nil, err
	}
	if ref != nil {
		st, err := ref.ToState()
		if err != nil {
			return nil, err
		}
		c.root.state = bare(st)
	}
	return c, nil
}

// buildContext returns the frontend's inputs: the build context without what .dockerignore names, and where the
// Dockerfile is.
func (b *build) buildContext(ctx context.Context, dir *node, dockerfile string) (map[string]llb.State, []*step, error) {
	if dir.parent.typ == "Host" {
		// Straight from the host: what is ignored is not even read.
		s, err := b.engine.hostSource(dir)
		if err != nil {
			return nil, nil, err
		}
		if _, err := os.Stat(filepath.Join(s.path, dockerfile)); err != nil {
			return nil, nil, fmt.Errorf("no Dockerfile: %w", err)
		}
		ignored, err := ignorePatterns(dockerfile, func(name string) ([]byte, error) {
			return os.ReadFile(filepath.Join(s.path, name))
		})
		if err != nil {
			return nil, nil, err
		}
		return map[string]llb.State{
			"context": s.state(b.engine, "load build context", ignored),
			"dockerfile": s.state(b.engine, "load build definition", nil,
				llb.FollowPaths([]string{dockerfile}), llb.Differ(llb.DiffNone, false)),
		}, nil, nil
	}
	d, err := b.directory(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	if d.tree.state.Output() == nil {
		return nil, nil, fmt.Errorf("no Dockerfile: the build context is empty; it should hold %s", dockerfile)
	}
	ignored, err := ignorePatterns(dockerfile, func(name string) ([]byte, error) {
		return b.read(ctx, d.tree, b.platform(), path.Join(d.path, name))
	})
	if err != nil {
		return nil, nil, err
	}
	whole := d.tree.state
	if d.path != "/" {
		whole = tree{state: llb.Scratch()}.withDirectory("/", d, nil).state
	}
	filtered := whole
	if len(ignored) > 0 {
		filtered = llb.Scratch().File(
			llb.Copy(whole, "/", "/", &llb.CopyInfo{CopyDirContentsOnly: true, ExcludePatterns: ignored}),
			llb.WithCustomName(internalPrefix+"apply .dockerignore"))
	}
	return map[string]llb.State{"context": filtered, "dockerfile": whole}, d.tree.steps, nil
}

// ignorePatterns reads the ignore file of a Dockerfile, or the one of its context.
func ignorePatterns(dockerfile string, read func(string) ([]byte, error)) ([]string, error) {
	for _, name := range []string{dockerfile + ".dockerignore", ".dockerignore"} {
		text, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(strings.NewReader(string(text)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return patterns, nil
	}
	return nil, nil
}
