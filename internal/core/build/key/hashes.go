package key

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2/maybe"
)

// hashes keeps what is known about the files of one build context from run to run. A file whose size, times and inode are
// those of before has its content of before: ctime is set by the kernel at each write.
type hashes struct {
	file    string // "" keeps nothing
	began   time.Time
	before  map[string]kept
	mu      sync.Mutex
	noted   map[string]kept
	changed bool
}

// kept is the identity of a file, and what it held.
type kept struct{ identity, value string }

// sameTick is how much older than the reading of it a change must be for the file to be kept: within it, a second write may
// leave size and times as they are.
const sameTick = 100 * time.Millisecond

// openHashes reads what was kept for a directory. What cannot be read is not known.
func openHashes(root, cache string) *hashes {
	h := &hashes{began: time.Now(), before: map[string]kept{}, noted: map[string]kept{}}
	abs, err := filepath.Abs(root)
	if cache == "" || err != nil {
		return h
	}
	name := sha256.Sum256([]byte(abs))
	h.file = filepath.Join(cache, hex.EncodeToString(name[:12]))
	data, err := os.ReadFile(h.file)
	if err != nil {
		return h
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		parts := strings.SplitN(lines.Text(), "\t", 3)
		if len(parts) != 3 {
			continue
		}
		if path, err := strconv.Unquote(parts[2]); err == nil {
			h.before[path] = kept{parts[0], parts[1]}
		}
	}
	return h
}

// known returns what an entry held when it was read before, if it is the same since.
func (h *hashes) known(e entry) (value string, ok bool) {
	if e.info.IsDir() {
		return "directory", true
	}
	if h.file == "" || !e.info.Mode().IsRegular() {
		return "", false
	}
	h.mu.Lock()
	was, ok := h.noted[e.name]
	h.mu.Unlock()
	if !ok {
		was, ok = h.before[e.name]
	}
	id, _ := identity(e.info)
	if !ok || id == "" || was.identity != id {
		return "", false
	}
	return was.value, true
}

// note keeps what an entry holds, unless it changed a moment ago.
func (h *hashes) note(e entry, value string) {
	id, changed := identity(e.info)
	if h.file == "" || id == "" || !e.info.Mode().IsRegular() || value == "" || h.began.Sub(changed) < sameTick {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.noted[e.name], h.changed = kept{id, value}, true
}

// save writes what is known about the entries, if anything is new. Without it the next run reads the files again, so a
// directory that cannot be written to is no error.
func (h *hashes) save(entries []entry) {
	if !h.changed {
		return
	}
	maps.Copy(h.before, h.noted)
	h.noted, h.changed = map[string]kept{}, false
	var text bytes.Buffer
	for _, e := range entries {
		if k, ok := h.before[e.name]; ok {
			fmt.Fprintf(&text, "%s\t%s\t%s\n", k.identity, k.value, strconv.Quote(e.name))
		}
	}
	if os.MkdirAll(filepath.Dir(h.file), 0o700) == nil {
		_ = maybe.WriteFile(h.file, text.Bytes(), 0o600)
	}
}
