package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// SetDir is Plan and Write for a directory, or file, on disk. Links may not leave the git work tree that it stands in;
// in none, nothing outside of dir is written either, and kustomizations outside of dir are not looked for, since nobody knows
// how far the repository reaches. The edit's paths are relative to dir.
func SetDir(ctx context.Context, dir string, target Target, o Options) (*Edit, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if absolute, err = filepath.EvalSymlinks(absolute); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", dir, pathReason(err))
	}
	top, known := WorkTree(absolute)
	o.unbounded = !known
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", top, pathReason(err))
	}
	defer root.Close()
	relative, err := filepath.Rel(top, absolute)
	if err != nil {
		return nil, err
	}
	relative = filepath.ToSlash(relative)
	info, err := os.Stat(absolute)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", dir, pathReason(err))
	}
	from := relative // what names are relative to
	if !info.IsDir() {
		from = path.Dir(relative)
	}
	shown := func(name string) string {
		if name == relative && info.IsDir() {
			return dir
		}
		if near, err := filepath.Rel(filepath.FromSlash(from), filepath.FromSlash(name)); err == nil {
			return filepath.ToSlash(near)
		}
		return name
	}
	edit, err := plan(ctx, root.FS(), relative, target, o, shown)
	if err != nil {
		return nil, err
	}
	if err := edit.Write(root); err != nil {
		return nil, err
	}
	for i := range edit.Files {
		edit.Files[i].Path = shown(edit.Files[i].Path)
	}
	return edit, nil
}

// WorkTree returns the root of the git work tree that dir, an absolute path, stands in. Where there is none, it is the root of
// the file system, so that a kustomization finds its bases, and known is false.
func WorkTree(dir string) (top string, known bool) {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(filepath.Join(d, ".git")); err == nil {
			return d, true
		}
		if d == filepath.Dir(d) {
			return d, false
		}
	}
}

// Write replaces the edit's files below root: each whole or not at all, with its mode kept. All new contents are on
// disk before the first file is replaced.
func (e *Edit) Write(root *os.Root) (err error) {
	var temporary []string
	defer func() {
		for _, name := range temporary {
			if removeErr := root.Remove(name); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
				err = errors.Join(err, removeErr)
			}
		}
	}()
	for _, f := range e.Files {
		name, err := writeBeside(root, f)
		if name != "" {
			temporary = append(temporary, name)
		}
		if err != nil {
			return fmt.Errorf("cannot write %s: %w", f.Path, pathReason(err))
		}
	}
	for i, f := range e.Files {
		if err := root.Rename(temporary[i], f.Path); err != nil {
			return fmt.Errorf("cannot replace %s: %w", f.Path, pathReason(err))
		}
		if err := syncDir(root, path.Dir(f.Path)); err != nil {
			return fmt.Errorf("cannot replace %s: %w", f.Path, pathReason(err))
		}
	}
	return nil
}

// writeBeside writes a file's new content to a temporary file in the same directory.
func writeBeside(root *os.Root, f File) (name string, err error) {
	info, err := root.Lstat(f.Path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	dir, base := path.Split(f.Path)
	name = fmt.Sprintf("%s.%s.aksflow-%d", dir, base, os.Getpid())
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	_, err = out.Write(f.Content)
	if err == nil {
		err = out.Chmod(info.Mode().Perm())
	}
	if err == nil {
		err = out.Sync()
	}
	return name, errors.Join(err, out.Close())
}

// syncDir makes a rename durable.
func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
