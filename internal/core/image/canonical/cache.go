package canonical

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/renameio/v2"
)

// cache keeps canonical layers in a directory, so that a layer that did not change is compressed once. Without a directory
// nothing is kept. What cannot be read is no error: the layer is made again.
type cache struct{ dir string }

// kept is a layer in the cache, or what the scan of a base image gave.
type kept struct {
	Layer       v1.Descriptor `json:"layer,omitzero"` // an empty digest could not be read again
	DiffID      string        `json:"diffID,omitempty"`
	Epoch       int64         `json:"epoch,omitempty"`
	Directories []string      `json:"directories"` // those of the image so far
}

// How long an entry stays in the cache after its last use, and how many bytes the entries may have together. Those that were
// used last stay.
const (
	unusedLimit = 7 * 24 * time.Hour
	sizeLimit   = 4 << 30
)

// Version is a part of every key: the version of this package's rules, and that of the library that compresses. It has to
// change whenever the same layers and options give another canonical layer.
const Version = "4 " + compressVersion

// compressVersion is the version of github.com/klauspost/compress.
const compressVersion = "v1.20.2"

// key names what a layer is made from. All the layers below it count, since their directories do.
func (s *source) key(layers []int, below string, epoch int64, of Instruction) string {
	digests := make([]v1.Hash, len(layers))
	for i, layer := range layers {
		digests[i] = s.manifest.Layers[layer].Digest
	}
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %s %d %t %t %v", Version, below, epoch, of.Context, of.Modes, digests)))
}

func (c cache) path(key, ext string) string { return filepath.Join(c.dir, key+ext) }

// find returns what is kept under a key.
func (c cache) find(key string) (k kept, ok bool) {
	if c.dir == "" {
		return k, false
	}
	data, err := os.ReadFile(c.path(key, ".json"))
	if err != nil || json.Unmarshal(data, &k) != nil {
		return kept{}, false
	}
	now := time.Now()
	_ = os.Chtimes(c.path(key, ".json"), now, now)
	_ = os.Chtimes(c.path(key, ".gz"), now, now) // the scan of a base has none
	return k, true
}

// open opens a layer.
func (c cache) open(key string) (io.ReadCloser, error) { return os.Open(c.path(key, ".gz")) }

// keep writes an entry: first the layer, if there is one, so that an entry without it is never seen.
func (c cache) keep(key string, k kept, layer io.Reader) error {
	if c.dir == "" {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	if layer != nil {
		out, err := renameio.NewPendingFile(c.path(key, ".gz"), renameio.WithPermissions(0o600))
		if err != nil {
			return err
		}
		defer func() { _ = out.Cleanup() }()
		if _, err := io.Copy(out, layer); err != nil {
			return err
		}
		if err := out.CloseAtomicallyReplace(); err != nil {
			return err
		}
	}
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return renameio.WriteFile(c.path(key, ".json"), data, 0o600)
}

// prune removes what was not used for long, and the oldest entries beyond sizeLimit.
func (c cache) prune() {
	entries, _ := os.ReadDir(c.dir)
	var files []os.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var size int64
	for _, f := range files {
		if size += f.Size(); size > sizeLimit || time.Since(f.ModTime()) > unusedLimit {
			_ = os.Remove(filepath.Join(c.dir, f.Name()))
		}
	}
}

func (d directories) list() []string { return slices.Sorted(maps.Keys(d)) }

func directoriesOf(list []string) directories {
	d := directories{}
	for _, name := range list {
		d[name] = true
	}
	return d
}
