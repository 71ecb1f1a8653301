//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// changes compares two directories by the content, the kind and the executable bit of their files, as git does, and writes
// the differences into a third.
func changes(args []string) (int, error) {
	if len(args) != 3 {
		return exitNotExecutable, errors.New("changes: want BEFORE AFTER OUT")
	}
	before, err := list(args[0])
	if err != nil {
		return exitNotExecutable, err
	}
	after, err := list(args[1])
	if err != nil {
		return exitNotExecutable, err
	}
	found := contract.Changes{Added: []string{}, Modified: []string{}, Removed: []string{}}
	for name, info := range after {
		old, ok := before[name]
		if !ok {
			found.Added = append(found.Added, name)
			continue
		}
		same, err := equal(filepath.Join(args[0], name), filepath.Join(args[1], name), old, info)
		if err != nil {
			return exitNotExecutable, err
		}
		if !same {
			found.Modified = append(found.Modified, name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			found.Removed = append(found.Removed, name)
		}
	}
	slices.Sort(found.Added)
	slices.Sort(found.Modified)
	slices.Sort(found.Removed)
	found.Removed = topmost(found.Removed)
	data, err := json.Marshal(found)
	if err != nil {
		return exitNotExecutable, err
	}
	return 0, os.WriteFile(filepath.Join(args[2], contract.ChangesFile), data, 0o644)
}

// list returns everything below a directory, by path; the paths of directories end with a slash.
func list(root string) (map[string]fs.FileInfo, error) {
	all := map[string]fs.FileInfo{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if info.IsDir() {
			name += "/"
		}
		all[name] = info
		return err
	})
	return all, err
}

// topmost drops the paths that are below another one. They are sorted.
func topmost(paths []string) []string {
	top := []string{}
	for _, p := range paths {
		if last := len(top) - 1; last < 0 || !strings.HasSuffix(top[last], "/") || !strings.HasPrefix(p, top[last]) {
			top = append(top, p)
		}
	}
	return top
}

func equal(a, b string, infoA, infoB fs.FileInfo) (bool, error) {
	const executable = 0o100
	switch {
	case infoA.Mode().Type() != infoB.Mode().Type():
		return false, nil
	case infoA.IsDir():
		return true, nil
	case infoA.Mode()&fs.ModeSymlink != 0:
		linkA, errA := os.Readlink(a)
		linkB, errB := os.Readlink(b)
		return linkA == linkB, errors.Join(errA, errB)
	case !infoA.Mode().IsRegular():
		return true, nil
	case infoA.Size() != infoB.Size() || infoA.Mode()&executable != infoB.Mode()&executable:
		return false, nil
	}
	return equalContent(a, b)
}

// equalContent compares two files of one size.
func equalContent(a, b string) (bool, error) {
	fileA, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer fileA.Close()
	fileB, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer fileB.Close()
	bufferA, bufferB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(fileA, bufferA)
		_, errB := io.ReadFull(fileB, bufferB[:n])
		if n > 0 && (errB != nil || !bytes.Equal(bufferA[:n], bufferB[:n])) {
			return false, nil
		}
		switch {
		case errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF):
			return true, nil
		case errA != nil:
			return false, errA
		}
	}
}
