package kustomize

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// fileSystem lets kustomize read an fs.FS, whose root is / there. It is read-only.
type fileSystem struct{ fs.FS }

var errReadOnly = errors.New("the file system is read-only")

// name is a path of kustomize's as one of the fs.FS.
func name(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(p)), "/"); p == "" {
		return "."
	}
	return p
}

// The methods of filesys.FileSystem that write.
func (fileSystem) Create(string) (filesys.File, error)     { return nil, errReadOnly }
func (fileSystem) Mkdir(string) error                      { return errReadOnly }
func (fileSystem) MkdirAll(string) error                   { return errReadOnly }
func (fileSystem) RemoveAll(string) error                  { return errReadOnly }
func (fileSystem) WriteFile(string, []byte) error          { return errReadOnly }
func (f fileSystem) ReadFile(p string) ([]byte, error)     { return fs.ReadFile(f.FS, name(p)) }
func (f fileSystem) Glob(pattern string) ([]string, error) { return fs.Glob(f.FS, name(pattern)) }

// Open implements filesys.FileSystem.
func (f fileSystem) Open(p string) (filesys.File, error) {
	data, err := f.ReadFile(p)
	if err != nil {
		return nil, err
	}
	info, err := fs.Stat(f.FS, name(p))
	return &file{bytes.NewReader(data), info}, err
}

// IsDir implements filesys.FileSystem.
func (f fileSystem) IsDir(p string) bool {
	info, err := fs.Stat(f.FS, name(p))
	return err == nil && info.IsDir()
}

// ReadDir implements filesys.FileSystem.
func (f fileSystem) ReadDir(p string) ([]string, error) {
	entries, err := fs.ReadDir(f.FS, name(p))
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// CleanedAbs implements filesys.FileSystem: the directory, and the file in it if p is no directory.
func (f fileSystem) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	absolute := path.Clean("/" + filepath.ToSlash(p))
	info, err := fs.Stat(f.FS, name(p))
	switch {
	case err != nil:
		return "", "", err
	case info.IsDir():
		return filesys.ConfirmedDir(absolute), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(absolute)), path.Base(absolute), nil
}

// Exists implements filesys.FileSystem.
func (f fileSystem) Exists(p string) bool {
	_, err := fs.Stat(f.FS, name(p))
	return err == nil
}

// Walk implements filesys.FileSystem.
func (f fileSystem) Walk(p string, visit filepath.WalkFunc) error {
	return fs.WalkDir(f.FS, name(p), func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return visit("/"+at, nil, err)
		}
		info, err := d.Info()
		return visit("/"+at, info, err)
	})
}

// file is a file that was read.
type file struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Write([]byte) (int, error)  { return 0, errReadOnly }
func (f *file) Close() error               { return nil }
