package gitops

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/aksflow/aksflow/internal/core/manifest"
)

// treeFS reads a commit's tree as a file system, without a work tree on disk. It implements fs.ReadDirFS, fs.StatFS and
// fs.ReadLinkFS, and may be used from several goroutines.
type treeFS struct {
	mu    sync.Mutex // go-git's storage and its trees keep caches
	store storer.EncodedObjectStorer
	root  *object.Tree
}

func newTreeFS(store storer.EncodedObjectStorer, commit *object.Commit) (*treeFS, error) {
	root, err := object.GetTree(store, commit.TreeHash)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", commit.Hash, err)
	}
	return &treeFS{store: store, root: root}, nil
}

// node is an entry of a tree, with its full name.
type node struct {
	name string
	mode filemode.FileMode
	hash plumbing.Hash
	size int64
}

// Name implements fs.FileInfo and fs.DirEntry.
func (n node) Name() string       { return path.Base(n.name) }
func (n node) Size() int64        { return n.size }
func (n node) ModTime() time.Time { return time.Time{} }
func (n node) IsDir() bool        { return n.mode == filemode.Dir }
func (n node) Sys() any           { return nil }
func (n node) Type() fs.FileMode  { return n.Mode().Type() }

// Info implements fs.DirEntry.
func (n node) Info() (fs.FileInfo, error) { return n, nil }

// Mode implements fs.FileInfo.
func (n node) Mode() fs.FileMode {
	switch n.mode {
	case filemode.Dir:
		return fs.ModeDir | 0o755
	case filemode.Symlink:
		return fs.ModeSymlink | 0o777
	case filemode.Executable:
		return 0o755
	case filemode.Submodule:
		return fs.ModeIrregular
	}
	return 0o644
}

// find returns an entry, links not followed. The caller holds mu.
func (t *treeFS) find(op, name string) (node, error) {
	if !fs.ValidPath(name) {
		return node{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return node{name: name, mode: filemode.Dir, hash: t.root.Hash}, nil
	}
	entry, err := t.root.FindEntry(name)
	switch {
	case errors.Is(err, object.ErrEntryNotFound), errors.Is(err, object.ErrDirectoryNotFound), errors.Is(err, plumbing.ErrObjectNotFound):
		return node{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	case err != nil:
		return node{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return node{name: name, mode: entry.Mode, hash: entry.Hash}, nil
}

// follow is find through links in the last element.
func (t *treeFS) follow(op, name string) (node, error) {
	at := name
	for range 40 {
		n, err := t.find(op, at)
		if err != nil || n.mode != filemode.Symlink {
			n.name = name
			return n, err
		}
		target, err := t.content(n)
		if err != nil {
			return node{}, &fs.PathError{Op: op, Path: name, Err: err}
		}
		at = path.Join(path.Dir(at), string(target))
	}
	return node{}, &fs.PathError{Op: op, Path: name, Err: errors.New("too many links")}
}

func (t *treeFS) content(n node) ([]byte, error) {
	blob, err := object.GetBlob(t.store, n.hash)
	if err != nil {
		return nil, err
	}
	r, err := blob.Reader()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// Stat implements fs.StatFS.
func (t *treeFS) Stat(name string) (fs.FileInfo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.follow("stat", name)
}

// Lstat implements fs.ReadLinkFS.
func (t *treeFS) Lstat(name string) (fs.FileInfo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.find("lstat", name)
}

// ReadLink implements fs.ReadLinkFS.
func (t *treeFS) ReadLink(name string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find("readlink", name)
	if err != nil {
		return "", err
	}
	if n.mode != filemode.Symlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	target, err := t.content(n)
	return string(target), err
}

// ReadDir implements fs.ReadDirFS.
func (t *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.follow("readdir", name)
	if err != nil {
		return nil, err
	}
	tree, err := object.GetTree(t.store, n.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	entries := make([]fs.DirEntry, 0, len(tree.Entries))
	for _, e := range tree.Entries {
		entries = append(entries, node{name: e.Name, mode: e.Mode, hash: e.Hash})
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Open implements fs.FS; a directory is read with ReadDir.
func (t *treeFS) Open(name string) (fs.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.follow("open", name)
	if err != nil {
		return nil, err
	}
	if n.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is a directory")}
	}
	content, err := t.content(n)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n.size = int64(len(content))
	return &blobFile{node: n, Reader: bytes.NewReader(content)}, nil
}

type blobFile struct {
	node
	*bytes.Reader
}

// Size resolves the two that are embedded.
func (f *blobFile) Size() int64                { return f.node.size }
func (f *blobFile) Stat() (fs.FileInfo, error) { return f.node, nil }
func (f *blobFile) Close() error               { return nil }

// writeTree stores a tree in which files have new contents, and returns its hash and those of all objects that were
// made. Modes and all other entries stay.
func writeTree(store storer.EncodedObjectStorer, root plumbing.Hash, files []manifest.File) (plumbing.Hash, []plumbing.Hash, error) {
	tree, err := object.GetTree(store, root)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	var made []plumbing.Hash
	below := map[string][]manifest.File{}
	contents := map[string][]byte{}
	for _, f := range files {
		if dir, rest, deeper := strings.Cut(f.Path, "/"); deeper {
			below[dir] = append(below[dir], manifest.File{Path: rest, Content: f.Content})
		} else {
			contents[f.Path] = f.Content
		}
	}
	edited := &object.Tree{Entries: slices.Clone(tree.Entries)}
	for i, e := range edited.Entries {
		if content, found := contents[e.Name]; found {
			delete(contents, e.Name)
			if edited.Entries[i].Hash, err = storeBlob(store, content); err != nil {
				return plumbing.ZeroHash, nil, err
			}
			made = append(made, edited.Entries[i].Hash)
		}
		if inner, found := below[e.Name]; found {
			delete(below, e.Name)
			hash, innerMade, err := writeTree(store, e.Hash, inner)
			if err != nil {
				return plumbing.ZeroHash, nil, err
			}
			edited.Entries[i].Hash = hash
			made = append(made, innerMade...)
		}
	}
	if len(contents)+len(below) > 0 {
		return plumbing.ZeroHash, nil, errors.New("a file to write is not in the tree")
	}
	hash, err := storeObject(store, edited)
	return hash, append(made, hash), err
}

func storeBlob(store storer.EncodedObjectStorer, content []byte) (plumbing.Hash, error) {
	o := store.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	w, err := o.Writer()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	_, err = w.Write(content)
	if err = errors.Join(err, w.Close()); err != nil {
		return plumbing.ZeroHash, err
	}
	return store.SetEncodedObject(o)
}

func storeObject(store storer.EncodedObjectStorer, o interface {
	Encode(plumbing.EncodedObject) error
}) (plumbing.Hash, error) {
	encoded := store.NewEncodedObject()
	if err := o.Encode(encoded); err != nil {
		return plumbing.ZeroHash, err
	}
	return store.SetEncodedObject(encoded)
}
