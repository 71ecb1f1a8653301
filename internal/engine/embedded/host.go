package embedded

import (
	"path/filepath"
	"sync"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// hostDirs are the host's directories that BuildKit may ask for, by name.
type hostDirs struct {
	mu    sync.Mutex
	paths map[string]string
}

var _ filesync.DirSource = (*hostDirs)(nil)

// shimName is the shim's file name, and the name under which BuildKit asks for its directory.
const shimName = "aksflow-shim"

func newHostDirs(shim string) *hostDirs {
	return &hostDirs{paths: map[string]string{shimName: filepath.Dir(shim)}}
}

// add makes a directory known. A session reads it once for each value of once.
func (h *hostDirs) add(path, once string) (name string) {
	name = "host-" + hash([]string{path, once})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paths[name] = path
	return name
}

// LookupDir implements [filesync.DirSource].
func (h *hostDirs) LookupDir(name string) (fsutil.FS, bool) {
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

// shimState holds the shim. Steps depend on its content, not on where or when it was read.
func shimState(e *Engine) llb.State {
	return llb.Local(shimName,
		llb.SessionID(e.session.ID()),
		llb.IncludePatterns([]string{shimName}),
		llb.SharedKeyHint(shimName),
		llb.WithCustomName(internalPrefix+"shim"))
}
