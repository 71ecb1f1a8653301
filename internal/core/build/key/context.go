package key

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
	"github.com/aksflow/aksflow/internal/core/build/files"
)

// Context is a build context on this machine: its files as a build sees them.
type Context struct {
	root    string
	entries []entry // in the order of their names
	hashes  *hashes
}

// entry is a file, a directory or a link of a build context.
type entry struct {
	name string
	info fs.FileInfo
}

// Read lists the files of a build context. dockerfile is the path of the Dockerfile in it. cache is a directory that keeps
// the hashes of files that do not change; "" keeps none.
func Read(root, dockerfile, cache string) (*Context, error) {
	c := &Context{root: root}
	err := files.WalkVisible(root, dockerfile, func(name string, d fs.DirEntry) error {
		info, err := d.Info()
		if err == nil {
			c.entries = append(c.entries, entry{name, info})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c.hashes = openHashes(root, cache)
	return c, nil
}

// visible returns the entries that instructions can see which read this, sorted by their names.
func (c *Context) visible(ctx context.Context, reads []dockerfile.Read) ([]Entry, error) {
	readings := newReadings(reads)
	// A COPY follows a link to wherever it points.
	all := slices.ContainsFunc(readings, (*reading).all) || slices.ContainsFunc(c.entries, func(e entry) bool {
		return e.info.Mode().Type() == fs.ModeSymlink && slices.ContainsFunc(readings, func(r *reading) bool { return r.leadsTo(e.name) })
	})
	var chosen []entry
	for _, e := range c.entries {
		known := e.info.IsDir() || e.info.Mode().IsRegular() || e.info.Mode().Type() == fs.ModeSymlink
		if known && (all || seen(e.name, readings)) {
			chosen = append(chosen, e)
		}
	}
	out := make([]Entry, len(chosen))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, e := range chosen {
		value, ok := c.hashes.known(e)
		if ok {
			out[i] = Entry{File, e.name, value}
			continue
		}
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			value, err := describe(filepath.Join(c.root, e.name), e.info)
			out[i] = Entry{File, e.name, value}
			c.hashes.note(e, value)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	c.hashes.save(c.entries)
	return out, nil
}

// describe returns the mode of a file and the hash of its content, or what a link points to.
func describe(path string, info fs.FileInfo) (string, error) {
	switch {
	case info.IsDir():
		return "directory", nil
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(path)
		return "link " + target, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	kind := "file "
	if files.Mode(info.Mode())&0o100 != 0 {
		kind = "executable "
	}
	return kind + hex.EncodeToString(hash.Sum(nil)), nil
}
