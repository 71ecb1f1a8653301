// Package remotecache keeps results of Dockerfile builds in a registry, for machines that have no cache of their own. The
// form is BuildKit's: https://docs.docker.com/build/cache/backends/registry/.
package remotecache

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"sync"
	"time"

	control "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/failure"
)

// Options say where results are. The tags are those of the stages without a name; another stage has its own behind them.
type Options struct {
	// Imports are references that results are taken from.
	Imports []string
	// Export is the reference that results are written to; "" writes none.
	Export string
}

// Cache is the cache of a session. The zero value reads and writes nothing.
type Cache struct {
	options Options
	turn    sync.Mutex // of what is written

	mu      sync.Mutex
	built   map[string]string // stages by the IDs of builds that are to be written
	written map[string]bool   // IDs
	writing sync.WaitGroup
}

// New returns a cache.
func New(o Options) *Cache {
	return &Cache{options: o, built: map[string]string{}, written: map[string]bool{}}
}

// ImportKey is the option of BuildKit's Dockerfile frontend for what results are taken from.
const ImportKey = "cache-imports"

// Imports returns the value of that option for a stage; "" for none.
func (c *Cache) Imports(stage string) string {
	var entries []*control.CacheOptionsEntry
	for _, ref := range c.options.Imports {
		entries = append(entries, &control.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ofStage(ref, stage)}})
	}
	if entries == nil {
		return ""
	}
	text, err := json.Marshal(entries)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

// exports is what BuildKit is told about writing a stage's results: all of them, those of the stages before it too. A layer
// is compressed for this only, so quickly.
func (c *Cache) exports(stage string) []bkclient.CacheOptionsEntry {
	return []bkclient.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{
		"ref": ofStage(c.options.Export, stage), "mode": "max", "image-manifest": "true", "oci-mediatypes": "true",
		"compression": "zstd", "compression-level": "1",
	}}}
}

const maxTag = 128 // bytes

var notTag = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// ofStage returns the reference for a stage: each has its own, because writing one replaces what was there.
func ofStage(ref, stage string) string {
	if stage == "" {
		return ref
	}
	slash := strings.LastIndex(ref, "/")
	name, tag, _ := strings.Cut(ref[slash+1:], ":")
	tag += "-" + notTag.ReplaceAllString(stage, "-")
	return ref[:slash+1] + name + ":" + tag[:min(len(tag), maxTag)]
}

// Built notes that a build of a stage is worth writing once it is done.
func (c *Cache) Built(id, stage string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.options.Export != "" && !c.written[id] {
		c.built[id] = stage
	}
}

// writeLimit is how long writing the results of a stage may take.
const writeLimit = 5 * time.Minute

// Write writes the results of the builds that were noted, in the background: one after the other, each once. solve does a
// build again, which its own results are the answer to, and exports them. Failures are warnings.
func (c *Cache) Write(ctx context.Context, solve func(ctx context.Context, id string, exports []bkclient.CacheOptionsEntry) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, stage := range c.built {
		c.written[id] = true
		c.writing.Go(func() {
			c.turn.Lock()
			defer c.turn.Unlock()
			ctx, cancel := context.WithTimeout(ctx, writeLimit)
			defer cancel()
			err := solve(ctx, id, c.exports(stage))
			switch {
			case err == nil:
				report.Logf(ctx, "cache", "written to %s", ofStage(c.options.Export, stage))
			case errors.Is(ctx.Err(), context.DeadlineExceeded):
				report.Warn(ctx, "the build cache was not written to %s within %s", ofStage(c.options.Export, stage), report.Span(writeLimit))
			case ctx.Err() == nil:
				report.Warn(ctx, "the build cache could not be written to %s: %v", ofStage(c.options.Export, stage), failure.Plain(err))
			}
		})
	}
	clear(c.built)
}

// Wait returns when nothing is being written anymore.
func (c *Cache) Wait() { c.writing.Wait() }
