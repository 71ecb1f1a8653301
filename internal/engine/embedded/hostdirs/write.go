package hostdirs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/aksflow/aksflow/internal/engine/embedded/hostfile"
)

// Write makes a directory known that has one file, which write writes. A later call with the same name does nothing.
//
// The file has a fixed time: BuildKit keeps what it read under a name, and reads again what has another size or time. So name
// has to stand for the content.
func (h *Dirs) Write(name, file string, write func(io.Writer) error) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	h.mu.Lock()
	_, known := h.paths[name]
	h.mu.Unlock()
	if known {
		return nil
	}
	dir, err := os.MkdirTemp("", "aksflow-file-*")
	if err != nil {
		return err
	}
	h.written = append(h.written, dir)
	path := filepath.Join(dir, file)
	if err := hostfile.Replace(path, func(w io.Writer) (fs.FileMode, error) { return 0o644, write(w) }); err != nil {
		return err
	}
	fixed := time.Unix(1, 0)
	if err := os.Chtimes(path, fixed, fixed); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paths[name] = dir
	return nil
}

// Close removes what Write wrote.
func (h *Dirs) Close() error {
	h.writing.Lock()
	defer h.writing.Unlock()
	var errs []error
	for _, dir := range h.written {
		errs = append(errs, os.RemoveAll(dir))
	}
	h.written = nil
	return errors.Join(errs...)
}
