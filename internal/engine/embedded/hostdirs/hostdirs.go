// Package hostdirs gives BuildKit the directories of the host that a session reads.
package hostdirs

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// Dirs are the host's directories that BuildKit may ask for, by name.
type Dirs struct {
	mu    sync.Mutex
	paths map[string]string
	read  map[string][]string // patterns of files that are left out, by the path of a directory that is read

	writing sync.Mutex // guards written, and is held while a file is written
	written []string   // directories of files that Write wrote
}

var _ filesync.DirSource = (*Dirs)(nil)

// New returns directories of which one is known by name.
func New(name, path string) *Dirs {
	return &Dirs{paths: map[string]string{name: path}, read: map[string][]string{}}
}

// Add makes a directory known. A session reads it once for each value of once.
func (h *Dirs) Add(path, once string) (name string) {
	name = "host-" + api.Hash([]string{path, once})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paths[name] = path
	return name
}

// Reads notes that a directory is read without the files that match patterns.
func (h *Dirs) Reads(path string, exclude []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.read[path] = exclude
}

// OddName explains the error of a transfer that failed because a file's name is not UTF-8, which BuildKit's messages
// cannot hold: it names the file. Other errors stay as they are.
func (h *Dirs) OddName(err error) error {
	if !strings.Contains(err.Error(), "invalid UTF-8") {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for path, exclude := range h.read {
		dir, openErr := fsutil.NewFS(path)
		if openErr == nil {
			dir, openErr = fsutil.NewFilterFS(dir, &fsutil.FilterOpt{ExcludePatterns: exclude})
		}
		if openErr != nil {
			continue
		}
		_ = dir.Walk(context.Background(), "", func(name string, _ fs.DirEntry, walkErr error) error {
			if walkErr == nil && !utf8.ValidString(name) {
				err = fmt.Errorf("the directory %s has a file whose name is not UTF-8, %q: rename it, or name it in .dockerignore", path, name)
				return fs.SkipAll
			}
			return walkErr
		})
	}
	return err
}

// LookupDir implements [filesync.DirSource].
func (h *Dirs) LookupDir(name string) (fsutil.FS, bool) {
	h.mu.Lock()
	path, ok := h.paths[name]
	h.mu.Unlock()
	if !ok {
		return nil, false
	}
	dir, err := fsutil.NewFS(path)
	if err != nil {
		return nil, false
	}
	dir, err = fsutil.NewFilterFS(dir, &fsutil.FilterOpt{
		// Whose file it is on the host means nothing in a container.
		Map: func(_ string, s *fstypes.Stat) fsutil.MapResult {
			s.Uid, s.Gid = 0, 0
			return fsutil.MapResultKeep
		},
	})
	return dir, err == nil
}
