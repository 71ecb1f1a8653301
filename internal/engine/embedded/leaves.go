package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/failure"
	"github.com/aksflow/aksflow/internal/engine/embedded/hostfile"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// leaves are the fields whose answer is not an object: what makes the engine work.
var leaves map[string]leaf

func init() { // not an initializer: the leaves lead back to it
	leaves = map[string]leaf{
		"Query.version": func(context.Context, *Engine, *api.Node, api.Args) (any, error) { return APIVersion, nil },

		"Query.defaultPlatform": reading(func(_ context.Context, b *build, _ *api.Node, _ api.Args) (any, error) {
			return platforms.Format(b.platform()), nil
		}),
		"CurrentModule.name": func(context.Context, *Engine, *api.Node, api.Args) (any, error) {
			return nil, errors.New("no current module: this program is not a function of a Dagger module")
		},

		"GitRef.commit": asksGit(func(r *sourceresolver.ResolveGitResponse) string { return cmp.Or(r.CommitChecksum, r.Checksum) }),
		"GitRef.ref":    asksGit(func(r *sourceresolver.ResolveGitResponse) string { return r.Ref }),

		"Directory.exists":  reading(existsIn),
		"Directory.glob":    reading(glob),
		"Directory.name":    reading(directoryName),
		"Directory.sync":    syncing((*build).syncDirectory),
		"Directory.entries": reading(entriesLeaf),
		"Directory.export":  exportDirectory,

		"File.sync":     syncing((*build).syncFile),
		"File.name":     reading(fileName),
		"File.size":     reading(fileSize),
		"File.contents": reading(fileContents),
		"File.export":   exportFile,

		"Service.hostname": func(_ context.Context, _ *Engine, n *api.Node, _ api.Args) (any, error) { return hostname(n), nil },
		"Service.endpoint": reading(endpoint),
		"Service.start": func(ctx context.Context, e *Engine, n *api.Node, _ api.Args) (any, error) {
			_, err := e.services.start(ctx, n)
			return n.ID, err
		},
		"Service.stop": func(ctx context.Context, e *Engine, n *api.Node, a api.Args) (any, error) {
			return n.ID, e.services.stop(ctx, n, a.Flag("kill"))
		},

		"Secret.name": func(_ context.Context, e *Engine, n *api.Node, _ api.Args) (any, error) {
			name, _, err := e.secrets.Plaintext(n)
			return name, err
		},
		"Secret.plaintext": func(_ context.Context, e *Engine, n *api.Node, _ api.Args) (any, error) {
			_, value, err := e.secrets.Plaintext(n)
			return value, err
		},
	}
}

func init() { // those of git and of changesets
	maps.Copy(leaves, map[string]leaf{
		"Address.value": func(_ context.Context, _ *Engine, n *api.Node, _ api.Args) (any, error) {
			return n.Args.Str("value"), nil
		},

		"Changeset.sync": reading(func(ctx context.Context, b *build, n *api.Node, _ api.Args) (any, error) {
			_, err := b.changes(ctx, n)
			return n.ID, err
		}),
		"Changeset.isEmpty": changed(func(c *contract.Changes) any {
			return len(c.Added)+len(c.Modified)+len(c.Removed) == 0
		}),
		"Changeset.addedPaths":    changed(func(c *contract.Changes) any { return c.Added }),
		"Changeset.modifiedPaths": changed(func(c *contract.Changes) any { return c.Modified }),
		"Changeset.removedPaths":  changed(func(c *contract.Changes) any { return c.Removed }),
		"Changeset.export":        exportChanges,
	})
}

func init() { // those of containers
	maps.Copy(leaves, map[string]leaf{
		"Container.publish":  publish,
		"Container.export":   exportContainer,
		"Container.sync":     syncing((*build).syncContainer),
		"Container.stdout":   reading(output(contract.Stdout)),
		"Container.stderr":   reading(output(contract.Stderr)),
		"Container.exitCode": reading(exitCode),
		"Container.platform": configured(func(c *container, _ api.Args) any { return platforms.Format(c.platform) }),
		"Container.user":     configured(func(c *container, _ api.Args) any { return c.config.Config.User }),
		"Container.workdir":  configured(func(c *container, _ api.Args) any { return c.config.Config.WorkingDir }),
		"Container.entrypoint": configured(func(c *container, _ api.Args) any {
			return slices.Concat([]string{}, c.config.Config.Entrypoint)
		}),
		"Container.defaultArgs": configured(func(c *container, _ api.Args) any { return slices.Concat([]string{}, c.config.Config.Cmd) }),
		"Container.label": configured(func(c *container, a api.Args) any {
			if v, ok := c.config.Config.Labels[a.Str("name")]; ok {
				return v
			}
			return nil
		}),
		"Container.exists": reading(exists),
		"Port.port":        item(func(c *container, i int) any { return c.allPorts()[i].number }),
		"Port.protocol": item(func(c *container, i int) any {
			if c.allPorts()[i].udp {
				return "UDP"
			}
			return "TCP"
		}),
		"EnvVariable.name": item(func(c *container, i int) any {
			name, _, _ := strings.Cut(c.env()[i], "=")
			return name
		}),
		"EnvVariable.value": item(func(c *container, i int) any {
			_, value, _ := strings.Cut(c.env()[i], "=")
			return value
		}),
		"Container.envVariable": configured(func(c *container, a api.Args) any {
			for _, v := range c.config.Config.Env {
				if value, ok := strings.CutPrefix(v, a.Str("name")+"="); ok {
					return value
				}
			}
			return nil
		}),
	})
}

// counts are the fields that answer lists of objects: how many these are.
var counts map[string]leaf

func init() { // as for leaves
	counts = map[string]leaf{
		"Container.exposedPorts": configured(func(c *container, _ api.Args) any { return len(c.allPorts()) }),
		"Container.envVariables": configured(func(c *container, _ api.Args) any { return len(c.env()) }),
	}
}

// item makes a leaf of a question about one of a container's ports or variables, which its node names by the index.
func item(f func(c *container, index int) any) leaf {
	return func(ctx context.Context, e *Engine, n *api.Node, _ api.Args) (any, error) {
		index, _ := n.Args.Num("index")
		return configured(func(c *container, _ api.Args) any { return f(c, index) })(ctx, e, n.Parent, nil)
	}
}

func exists(ctx context.Context, b *build, n *api.Node, a api.Args) (any, error) {
	c, err := b.container(ctx, n)
	if err != nil {
		return nil, err
	}
	if a, err = c.expand(a); err != nil {
		return nil, err
	}
	t, inside, err := c.place(a.Str("path"))
	if err != nil {
		return nil, err
	}
	return b.exists(ctx, *t, c.platform, inside, a)
}

// exists answers whether a tree has something at a path, of the kind in the argument expectedType if there is one.
func (b *build) exists(ctx context.Context, t tree, p ocispecs.Platform, name string, a api.Args) (bool, error) {
	look := b.stat
	if want := a.Str("expectedType"); want == "SYMLINK_TYPE" || a.Flag("doNotFollowSymlinks") {
		look = b.lstat
	}
	_, stat, err := look(ctx, t, p, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	mode := fs.FileMode(stat.Mode)
	switch a.Str("expectedType") {
	case "DIRECTORY_TYPE":
		return mode.IsDir(), nil
	case "REGULAR_TYPE":
		return mode.IsRegular(), nil
	case "SYMLINK_TYPE":
		return mode&fs.ModeSymlink != 0, nil
	}
	return true, nil
}

// leaf answers a field whose value is no object.
type leaf = func(context.Context, *Engine, *api.Node, api.Args) (any, error)

// Leaf implements [api.Backend].
func (e *Engine) Leaf(field string) api.Leaf { return e.bound(leaves[field]) }

// Count implements [api.Backend].
func (e *Engine) Count(field string) api.Leaf { return e.bound(counts[field]) }

func (e *Engine) bound(l leaf) api.Leaf {
	if l == nil {
		return nil
	}
	return func(ctx context.Context, n *api.Node, a api.Args) (any, error) { return l(ctx, e, n, a) }
}

// Hide implements [api.Backend].
func (e *Engine) Hide(text string) string { return e.secrets.Hide(text) }

// Extensions implements [api.Backend]: the SDKs make their failure.ExecError of what it returns.
func (e *Engine) Extensions(err error) map[string]any {
	var exec *failure.ExecError
	if !errors.As(err, &exec) {
		return nil
	}
	return map[string]any{
		"_type":    "EXEC_ERROR",
		"cmd":      exec.Cmd,
		"exitCode": exec.ExitCode,
		"stdout":   strings.TrimSpace(e.secrets.Hide(exec.Stdout)),
		"stderr":   strings.TrimSpace(e.secrets.Hide(exec.Stderr)),
	}
}

// read is a leaf's question.
type read func(ctx context.Context, b *build, n *api.Node, a api.Args) (answer any, err error)

// reading makes a leaf of a question.
func reading(f read) leaf {
	return func(ctx context.Context, e *Engine, n *api.Node, a api.Args) (answer any, err error) {
		_, err = e.run(ctx, nil, func(ctx context.Context, b *build) (_ *result, err error) {
			answer, err = f(ctx, b, n, a)
			return nil, err
		})
		return answer, err
	}
}

// syncing makes a leaf that has its object made, and answers its ID.
func syncing(f func(*build, context.Context, *api.Node) error) leaf {
	return reading(func(ctx context.Context, b *build, n *api.Node, _ api.Args) (any, error) { return n.ID, f(b, ctx, n) })
}

// configured makes a leaf of a question about a container's configuration.
func configured(f func(*container, api.Args) any) leaf {
	return reading(func(ctx context.Context, b *build, n *api.Node, a api.Args) (any, error) {
		c, err := b.container(ctx, n)
		if err != nil {
			return nil, err
		}
		return f(c, a), nil
	})
}

func (b *build) syncContainer(ctx context.Context, n *api.Node) error {
	c, err := b.container(ctx, n)
	if err != nil {
		return err
	}
	_, err = b.solve(ctx, c.root, c.platform)
	return err
}

func (b *build) syncDirectory(ctx context.Context, n *api.Node) error {
	d, err := b.directory(ctx, n)
	if err != nil {
		return err
	}
	if d.path == "/" {
		_, err = b.solve(ctx, d.tree, b.platform())
	} else {
		_, _, err = b.stat(ctx, d.tree, b.platform(), d.path)
	}
	return err
}

func (b *build) syncFile(ctx context.Context, n *api.Node) error {
	f, err := b.file(ctx, n)
	if err != nil {
		return err
	}
	if f.tree == nil {
		_, err := b.engine.imageOf(ctx, f.tarball.Parent, f.tarball.Args)
		return err
	}
	_, _, err = b.stat(ctx, *f.tree, b.platform(), f.path)
	return err
}

func entriesLeaf(ctx context.Context, b *build, n *api.Node, a api.Args) (any, error) {
	d, err := b.directory(ctx, n)
	if err != nil {
		return nil, err
	}
	names, err := b.entries(ctx, d.tree, b.platform(), path.Join(d.path, path.Join("/", a.Str("path"))))
	return names, err
}

func fileName(ctx context.Context, b *build, n *api.Node, _ api.Args) (any, error) {
	f, err := b.file(ctx, n)
	if err != nil {
		return nil, err
	}
	return f.base(), nil
}

// tarballName is what an image's tarball is called where it needs a name.
const tarballName = "container.tar"

func fileSize(ctx context.Context, b *build, n *api.Node, _ api.Args) (any, error) {
	f, err := b.placed(ctx, n)
	if err != nil {
		return nil, err
	}
	_, stat, err := b.stat(ctx, *f.tree, b.platform(), f.path)
	return stat.GetSize(), err
}

func fileContents(ctx context.Context, b *build, n *api.Node, _ api.Args) (any, error) {
	f, err := b.file(ctx, n)
	if err != nil {
		return nil, err
	}
	if f.tree == nil {
		return nil, errors.New("the contents of an image tarball: export it to a file")
	}
	data, err := b.read(ctx, *f.tree, b.platform(), f.path)
	return string(data), err
}

// output is what the last command wrote, or its exit code, without secrets.
func output(name string) read {
	return func(ctx context.Context, b *build, n *api.Node, _ api.Args) (any, error) {
		c, err := b.container(ctx, n)
		if err != nil {
			return nil, err
		}
		if c.output == nil {
			return nil, errNoCommand
		}
		data, err := b.read(ctx, *c.output, c.platform, path.Join(outDir, name))
		return b.engine.secrets.Hide(string(data)), err
	}
}

func exitCode(ctx context.Context, b *build, n *api.Node, a api.Args) (any, error) {
	text, err := output(contract.ExitCode)(ctx, b, n, a)
	if err != nil {
		return nil, err
	}
	code, err := strconv.Atoi(text.(string))
	return code, err
}

func endpoint(ctx context.Context, b *build, n *api.Node, a api.Args) (any, error) {
	number, ok := a.Num("port")
	if !ok {
		c, _, err := b.served(ctx, n)
		if err != nil {
			return nil, err
		}
		ports := c.allPorts()
		if len(ports) == 0 {
			return nil, errors.New("endpoint: the service exposes no port")
		}
		number = ports[0].number
	}
	address := fmt.Sprintf("%s:%d", hostname(n), number)
	if scheme := a.Str("scheme"); scheme != "" {
		address = scheme + "://" + address
	}
	return address, nil
}

// exportFile writes a file to the host and answers where it is.
func exportFile(ctx context.Context, e *Engine, n *api.Node, a api.Args) (any, error) {
	var dest string
	_, err := e.run(ctx, nil, func(ctx context.Context, b *build) (*result, error) {
		f, err := b.file(ctx, n)
		if err != nil {
			return nil, err
		}
		if f.tree == nil {
			if dest, err = exportTarget(a, f.base()); err != nil {
				return nil, err
			}
			return nil, e.writeImage(ctx, f.tarball.Parent, f.tarball.Args, dest)
		}
		// Whatever makes the file fails before anything is written.
		if _, _, err := b.stat(ctx, *f.tree, b.platform(), f.path); err != nil {
			return nil, err
		}
		if dest, err = exportTarget(a, f.base()); err != nil {
			return nil, err
		}
		return nil, hostfile.Replace(dest, func(w io.Writer) (fs.FileMode, error) { return b.copy(ctx, w, *f.tree, b.platform(), f.path) })
	})
	return dest, err
}

// exportDirectory writes a directory to the host, next to where it belongs, and moves it there when it is whole.
func exportDirectory(ctx context.Context, e *Engine, n *api.Node, a api.Args) (any, error) {
	dest, err := filepath.Abs(a.Str("path"))
	if err != nil {
		return nil, err
	}
	parent := filepath.Dir(dest)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	temp, err := os.MkdirTemp(parent, ".aksflow-export-*")
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	defer os.RemoveAll(temp)
	exports := []bkclient.ExportEntry{{Type: bkclient.ExporterLocal, OutputDir: temp}}
	if _, err := e.run(ctx, exports, func(ctx context.Context, b *build) (*result, error) {
		d, err := b.directory(ctx, n)
		if err != nil {
			return nil, err
		}
		if _, _, err := b.stat(ctx, d.tree, b.platform(), d.path); err != nil && d.path != "/" {
			return nil, err
		}
		part := tree{state: llb.Scratch()}.withDirectory("/", d, nil)
		ref, err := b.solve(ctx, part, b.platform())
		return &result{ref: ref}, err
	}); err != nil {
		return nil, err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if a.Flag("wipe") {
		if err := os.RemoveAll(dest); err != nil {
			return nil, fmt.Errorf("export: %w", err)
		}
	}
	if err := hostfile.Merge(temp, dest); err != nil {
		return nil, fmt.Errorf("export to %s: %w", dest, err)
	}
	return dest, nil
}

// imported brings an image tarball into the engine's store, once a session.
func (e *Engine) imported(ctx context.Context, source *api.Node) (ocispecs.Descriptor, error) {
	if source.Field == "asTarball" {
		return e.imageOf(ctx, source.Parent, source.Args)
	}
	return e.images.Once(ctx, e.base, source.ID, func(ctx context.Context) (ocispecs.Descriptor, error) { return e.readImage(ctx, source) })
}

func (e *Engine) readImage(ctx context.Context, source *api.Node) (ocispecs.Descriptor, error) {
	name := ""
	if source.Parent.Type == "Host" {
		p, err := hostfile.Regular(source.Args.Str("path"))
		if err != nil {
			return ocispecs.Descriptor{}, err
		}
		name = p
	} else {
		temp, err := os.MkdirTemp("", "aksflow-import-*")
		if err != nil {
			return ocispecs.Descriptor{}, err
		}
		defer os.RemoveAll(temp)
		name = filepath.Join(temp, tarballName)
		if _, err := exportFile(ctx, e, source, api.Args{"path": name}); err != nil {
			return ocispecs.Descriptor{}, err
		}
	}
	desc, err := e.store.ReadTarball(ctx, name)
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("import: %w", err)
	}
	return desc, nil
}
