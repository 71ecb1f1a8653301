package embedded

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/hostfile"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
)

// file is what a File stands for: a path in a tree, or an image as a tarball.
type file struct {
	tree *tree
	path string
	host string // where it is on the host, if that is where it comes from
	// tarball is the field asTarball whose image this is, if tree is nil.
	tarball *api.Node
	name    string // instead of path's last part
}

// base is what the file is called.
func (f *file) base() string {
	switch {
	case f.name != "":
		return f.name
	case f.tree == nil:
		return tarballName
	}
	return path.Base(f.path)
}

// file works out a File.
func (b *build) file(ctx context.Context, n *api.Node) (*file, error) {
	return memoized(b, n, func() (*file, error) {
		switch {
		case n.Field == "asTarball":
			return &file{tarball: n}, nil
		case n.Field == "withName":
			f, err := b.file(ctx, n.Parent)
			if err != nil {
				return nil, err
			}
			named := *f
			named.name = n.Args.Str("name")
			return &named, nil
		case n.Field == "http":
			return b.httpFile(n)
		case n.Parent.Type == "Host":
			return b.hostFile(n)
		case n.Parent.Type == "Container":
			c, err := b.container(ctx, n.Parent)
			if err != nil {
				return nil, err
			}
			given, err := c.expand(n.Args)
			if err != nil {
				return nil, err
			}
			t, inside, err := c.place(given.Str("path"))
			if err != nil {
				return nil, err
			}
			return &file{tree: t, path: inside}, nil
		default:
			d, err := b.directory(ctx, n.Parent)
			if err != nil {
				return nil, err
			}
			return &file{tree: &d.tree, path: path.Join(d.path, path.Join("/", n.Args.Str("path")))}, nil
		}
	})
}

func (b *build) hostFile(n *api.Node) (*file, error) {
	p, err := hostfile.Regular(n.Args.Str("path"))
	if err != nil {
		return nil, err
	}
	once := ""
	if n.Args.Flag("noCache") {
		once = n.ID
	}
	dir, name := filepath.Split(p)
	source := hostSource{path: filepath.Clean(dir), name: b.engine.hosts.Add(filepath.Clean(dir), once)}
	local := source.state(b.engine, "read "+p, nil, llb.FollowPaths([]string{name}))
	return &file{tree: only(local, "/"+name, p), path: "/" + name, host: p}, nil
}

// only is a tree with one file of the host, which its content identifies. from is how messages name it.
func only(local llb.State, name, from string) *tree {
	return &tree{state: llb.Scratch().File(llb.Copy(local, name, name), llb.WithCustomName(progress.InternalPrefix+"read "+from))}
}

// placed works out a File that has to be in a tree. An image tarball is written to the host for that, once a session.
func (b *build) placed(ctx context.Context, n *api.Node) (*file, error) {
	f, err := b.file(ctx, n)
	if err != nil || f.tree != nil {
		return f, err
	}
	image, err := b.engine.imageOf(ctx, f.tarball.Parent, f.tarball.Args)
	if err != nil {
		return nil, err
	}
	dir := "image-" + image.Digest.Encoded()
	if err := b.engine.hosts.Write(dir, tarballName, func(w io.Writer) error { return b.engine.store.WriteTarball(ctx, w, image) }); err != nil {
		return nil, err
	}
	local := hostSource{path: dir, name: dir}.state(b.engine, "read an image tarball", nil)
	return &file{tree: only(local, "/"+tarballName, "an image tarball"), path: "/" + tarballName, name: f.name}, nil
}

// chunk is how much of a file is read at once, in bytes: a message to or from the daemon has its limit.
const chunk = 4 << 20

// read returns a file of a tree. An error that is fs.ErrNotExist says that it is not there.
func (b *build) read(ctx context.Context, t tree, p ocispecs.Platform, name string) ([]byte, error) {
	var data bytes.Buffer
	_, err := b.copy(ctx, &data, t, p, name)
	return data.Bytes(), err
}

// copy writes a file of a tree, and returns its permissions.
func (b *build) copy(ctx context.Context, w io.Writer, t tree, p ocispecs.Platform, name string) (fs.FileMode, error) {
	ref, stat, err := b.stat(ctx, t, p, name)
	if err != nil {
		return 0, err
	}
	if fs.FileMode(stat.Mode).IsDir() {
		return 0, fmt.Errorf("%s is a directory", name)
	}
	for done := int64(0); done < stat.Size; {
		part, err := ref.ReadFile(ctx, gateway.ReadRequest{
			Filename: stat.Path,
			Range:    &gateway.FileRange{Offset: int(done), Length: chunk},
		})
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", name, err)
		}
		if len(part) == 0 {
			return 0, fmt.Errorf("read %s: %d bytes of %d", name, done, stat.Size)
		}
		if _, err := w.Write(part); err != nil {
			return 0, err
		}
		done += int64(len(part))
	}
	return fs.FileMode(stat.Mode).Perm(), nil
}

// stat has a tree made, and looks at a path in it. Symbolic links are followed; the answer's Path is where they lead.
func (b *build) stat(ctx context.Context, t tree, p ocispecs.Platform, name string) (gateway.Reference, *fstypes.Stat, error) {
	ref, err := b.solve(ctx, t, p)
	if err != nil {
		return nil, nil, err
	}
	missing := &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	if ref == nil {
		return nil, nil, missing
	}
	for range 40 { // as many links as Linux follows
		stat, err := ref.StatFile(ctx, gateway.StatRequest{Path: name})
		if err != nil {
			if notThere(err) {
				return nil, nil, missing
			}
			return nil, nil, fmt.Errorf("look at %s: %w", name, err)
		}
		if fs.FileMode(stat.Mode)&fs.ModeSymlink == 0 || stat.Linkname == "" {
			stat.Path = name
			return ref, stat, nil
		}
		if path.IsAbs(stat.Linkname) {
			name = stat.Linkname
		} else {
			name = path.Join(path.Dir(name), stat.Linkname)
		}
	}
	return nil, nil, fmt.Errorf("look at %s: too many symbolic links", name)
}

// lstat is stat, but does not follow a link at the end of the path.
func (b *build) lstat(ctx context.Context, t tree, p ocispecs.Platform, name string) (gateway.Reference, *fstypes.Stat, error) {
	ref, err := b.solve(ctx, t, p)
	if err != nil {
		return nil, nil, err
	}
	if ref == nil {
		return nil, nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	missing := &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	// StatFile would follow the link.
	list, err := ref.ReadDir(ctx, gateway.ReadDirRequest{Path: path.Dir(name)})
	if err != nil {
		if notThere(err) {
			err = missing
		}
		return nil, nil, err
	}
	for _, stat := range list {
		if path.Base(stat.Path) == path.Base(name) {
			return ref, stat, nil
		}
	}
	return nil, nil, missing
}

// notThere reports whether an error of the daemon says that a path does not exist.
func notThere(err error) bool {
	return strings.Contains(err.Error(), "no such file or directory") || strings.Contains(err.Error(), "not a directory")
}

// entries lists a directory as Dagger does: sorted, directories with a slash at the end.
func (b *build) entries(ctx context.Context, t tree, p ocispecs.Platform, name string) ([]string, error) {
	names := []string{}
	ref, err := b.solve(ctx, t, p)
	if err != nil {
		return nil, err
	}
	if ref == nil {
		if name != "/" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return names, nil
	}
	list, err := ref.ReadDir(ctx, gateway.ReadDirRequest{Path: name})
	if err != nil {
		if strings.Contains(err.Error(), "no such file or directory") {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return nil, fmt.Errorf("list %s: %w", name, err)
	}
	for _, stat := range list {
		entry := path.Base(stat.Path)
		if fs.FileMode(stat.Mode).IsDir() {
			entry += "/"
		}
		names = append(names, entry)
	}
	slices.Sort(names)
	return names, nil
}

// exportTarget is where File.export puts a file called name.
func exportTarget(a api.Args, name string) (string, error) {
	dest, err := filepath.Abs(a.Str("path"))
	if err != nil {
		return "", err
	}
	info, err := os.Stat(dest)
	isDir := strings.HasSuffix(a.Str("path"), "/") || err == nil && info.IsDir()
	if isDir && !a.Flag("allowParentDirPath") {
		return "", fmt.Errorf("export to %s: it is a directory: name the file in it", dest)
	}
	if isDir {
		dest = filepath.Join(dest, name)
	}
	return dest, nil
}
