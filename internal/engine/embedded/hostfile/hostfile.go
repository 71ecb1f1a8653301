// Package hostfile reads and writes files of the host.
package hostfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace writes a file by way of a temporary one beside it, so that it appears complete or not at all. What writes it
// returns the file's permissions.
func Replace(dest string, write func(io.Writer) (fs.FileMode, error)) error {
	dir := filepath.Dir(dest)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(dest)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	mode, err := write(f)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), dest)
}

// Merge moves the content of a directory into another, file by file, and replaces files of the same names.
func Merge(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		if !d.IsDir() {
			return os.Rename(p, dest)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.MkdirAll(dest, info.Mode().Perm()); err != nil {
			return err
		}
		return nil
	})
}

// Regular returns the absolute path of a regular file.
func Regular(name string) (string, error) {
	p, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(p)
	if err != nil {
		return "", fmt.Errorf("host file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("host file: %s is not a regular file", p)
	}
	return p, nil
}
