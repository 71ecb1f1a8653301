package git

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
)

// Tree is the files of a commit as a file system. It implements fs.ReadDirFS, fs.StatFS and fs.ReadLinkFS, follows
// symbolic links in every element of a path, and may be used from several goroutines.
type Tree struct {
	mu    sync.Mutex // go-git's storage and its trees keep caches
	store storer.EncodedObjectStorer
	root  *object.Tree
}

func newTree(store storer.EncodedObjectStorer, commit *object.Commit) (*Tree, error) {
	root, err := object.GetTree(store, commit.TreeHash)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", commit.Hash, err)
	}
	return &Tree{store: store, root: root}, nil
}

// SubmoduleError is the error for a path at or below a submodule: the files of a submodule are in another repository.
type SubmoduleError struct{ Path string } // of the submodule

// Error implements error.
func (e *SubmoduleError) Error() string {
	return e.Path + " is a git submodule: its files are in another repository, which is not read"
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

const linkLimit = 40 // as Linux has it

// find returns the entry at name. It follows links in all elements but the last, and in the last one too if followLast
// is set. The name of the entry is the one that was asked for. The caller holds mu.
func (t *Tree) find(op, name string, followLast bool) (node, error) {
	fail := func(err error) (node, error) { return node{}, &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	at := node{name: ".", mode: filemode.Dir, hash: t.root.Hash}
	todo := strings.Split(name, "/")
	if name == "." {
		todo = nil
	}
	for links := 0; len(todo) > 0; {
		next, err := t.child(at, todo[0])
		if err != nil {
			return fail(err)
		}
		todo = todo[1:]
		if next.mode != filemode.Symlink || len(todo) == 0 && !followLast {
			at = next
			continue
		}
		if links++; links > linkLimit {
			return fail(errors.New("too many symbolic links"))
		}
		target, err := t.content(next)
		if err != nil {
			return fail(err)
		}
		joined := path.Join(at.name, string(target))
		if path.IsAbs(string(target)) || !fs.ValidPath(joined) {
			return fail(fmt.Errorf("%s is a symbolic link that leaves the repository (to %s)", next.name, target))
		}
		todo = append(strings.Split(joined, "/"), todo...)
		if joined == "." {
			todo = todo[1:]
		}
		at = node{name: ".", mode: filemode.Dir, hash: t.root.Hash}
	}
	at.name = name
	return at, nil
}

// child returns the entry called element in the directory dir.
func (t *Tree) child(dir node, element string) (node, error) {
	switch dir.mode {
	case filemode.Dir:
	case filemode.Submodule:
		return node{}, &SubmoduleError{dir.name}
	default:
		return node{}, fs.ErrNotExist
	}
	tree, err := object.GetTree(t.store, dir.hash)
	if err != nil {
		return node{}, err
	}
	entry, err := tree.FindEntry(element)
	if errors.Is(err, object.ErrEntryNotFound) {
		return node{}, fs.ErrNotExist
	}
	if err != nil {
		return node{}, err
	}
	return node{name: path.Join(dir.name, element), mode: entry.Mode, hash: entry.Hash}, nil
}

func (t *Tree) content(n node) ([]byte, error) {
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
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find("stat", name, true)
	if err == nil && n.mode == filemode.Submodule {
		err = &fs.PathError{Op: "stat", Path: name, Err: &SubmoduleError{name}}
	}
	return n, err
}

// Lstat implements fs.ReadLinkFS.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.find("lstat", name, false)
}

// ReadLink implements fs.ReadLinkFS.
func (t *Tree) ReadLink(name string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find("readlink", name, false)
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
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fail := func(err error) ([]fs.DirEntry, error) { return nil, &fs.PathError{Op: "readdir", Path: name, Err: err} }
	n, err := t.find("readdir", name, true)
	switch {
	case err != nil:
		return nil, err
	case n.mode == filemode.Submodule:
		return fail(&SubmoduleError{name})
	case n.mode != filemode.Dir:
		return fail(errors.New("not a directory"))
	}
	tree, err := object.GetTree(t.store, n.hash)
	if err != nil {
		return fail(err)
	}
	entries := make([]fs.DirEntry, 0, len(tree.Entries))
	for _, e := range tree.Entries {
		entries = append(entries, node{name: e.Name, mode: e.Mode, hash: e.Hash})
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Open implements fs.FS for files. A directory is read with ReadDir.
func (t *Tree) Open(name string) (fs.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	n, err := t.find("open", name, true)
	switch {
	case err != nil:
		return nil, err
	case n.mode == filemode.Dir:
		return fail(errors.New("is a directory"))
	case n.mode == filemode.Submodule:
		return fail(&SubmoduleError{name})
	}
	content, err := t.content(n)
	if err != nil {
		return fail(err)
	}
	n.size = int64(len(content))
	return &blobFile{node: n, Reader: bytes.NewReader(content)}, nil
}

type blobFile struct {
	node
	*bytes.Reader
}

// Size resolves the ambiguity between the two embedded types.
func (f *blobFile) Size() int64                { return f.node.size }
func (f *blobFile) Stat() (fs.FileInfo, error) { return f.node, nil }
func (f *blobFile) Close() error               { return nil }

// writeTree stores a copy of the tree root in which files have new contents, by path. It returns the hash of the copy,
// and the hashes of all objects that it stored. Modes and all other entries are kept. Every file must exist.
func writeTree(store storer.EncodedObjectStorer, root plumbing.Hash, files map[string][]byte) (plumbing.Hash, []plumbing.Hash, error) {
	tree, err := object.GetTree(store, root)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	var stored []plumbing.Hash
	here, below := map[string][]byte{}, map[string]map[string][]byte{}
	for name, content := range files {
		dir, rest, deeper := strings.Cut(name, "/")
		if !deeper {
			here[name] = content
			continue
		}
		if below[dir] == nil {
			below[dir] = map[string][]byte{}
		}
		below[dir][rest] = content
	}
	edited := &object.Tree{Entries: slices.Clone(tree.Entries)}
	for i, e := range edited.Entries {
		if content, found := here[e.Name]; found && e.Mode.IsFile() && e.Mode != filemode.Symlink {
			delete(here, e.Name)
			if edited.Entries[i].Hash, err = storeBlob(store, content); err != nil {
				return plumbing.ZeroHash, nil, err
			}
			stored = append(stored, edited.Entries[i].Hash)
		}
		if inner, found := below[e.Name]; found && e.Mode == filemode.Dir {
			delete(below, e.Name)
			hash, innerStored, err := writeTree(store, e.Hash, inner)
			if err != nil {
				return plumbing.ZeroHash, nil, err
			}
			edited.Entries[i].Hash = hash
			stored = append(stored, innerStored...)
		}
	}
	for name := range here {
		return plumbing.ZeroHash, nil, fmt.Errorf("%s is no file of the commit", name)
	}
	for name := range below {
		return plumbing.ZeroHash, nil, fmt.Errorf("%s is no directory of the commit", name)
	}
	hash, err := storeObject(store, edited)
	return hash, append(stored, hash), err
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
