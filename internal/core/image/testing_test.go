package image

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
)

// newImage makes an image of random layers, on top of those of base.
func newImage(t testing.TB, base v1.Image, layerSize int64, layers int) v1.Image {
	t.Helper()
	for range layers {
		l, err := random.Layer(layerSize, types.OCILayer)
		require.NoError(t, err)
		base, err = mutate.AppendLayers(base, l)
		require.NoError(t, err)
	}
	return base
}

func emptyImage() v1.Image {
	return mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
}

func forPlatform(t testing.TB, arch string) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(emptyImage(), &v1.ConfigFile{OS: "linux", Architecture: arch, RootFS: v1.RootFS{Type: "layers"}})
	require.NoError(t, err)
	return img
}

// newIndex makes an index of an image for each platform and a nested index, as an attestation of BuildKit's would be.
func newIndex(t testing.TB) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        newImage(t, forPlatform(t, arch), 1<<10, 2),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: newImage(t, forPlatform(t, "unknown"), 1<<10, 1)})
	return mutate.AppendManifests(index, mutate.IndexAddendum{Add: nested})
}

// newLayout writes images and indexes as an OCI image layout.
func newLayout(t testing.TB, dir string, content ...any) {
	t.Helper()
	p, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	for _, c := range content {
		switch c := c.(type) {
		case v1.Image:
			require.NoError(t, p.AppendImage(c))
		case v1.ImageIndex:
			require.NoError(t, p.AppendIndex(c))
		}
	}
}

// pack writes a directory as a tar file.
func pack(t testing.TB, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	require.NoError(t, tw.AddFS(os.DirFS(dir)))
	require.NoError(t, tw.Close())
	require.NoError(t, os.WriteFile(file, buf.Bytes(), 0o600))
	return file
}

func tarball(t testing.TB, content ...any) string {
	t.Helper()
	dir := t.TempDir()
	newLayout(t, dir, content...)
	return pack(t, dir)
}

// blobFile is where a layout has a blob.
func blobFile(dir string, h v1.Hash) string { return filepath.Join(dir, "blobs", h.Algorithm, h.Hex) }

// recorded is what a server was asked: "PUT /v2/vote/manifests/dev".
type recorded struct {
	mu       sync.Mutex
	requests []string
	sent     int64 // bytes of request bodies
}

func (r *recorded) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Body = &countedBody{req.Body, r}
		r.mu.Lock()
		r.requests = append(r.requests, req.Method+" "+req.URL.Path)
		r.mu.Unlock()
		next.ServeHTTP(w, req)
	})
}

type countedBody struct {
	io.ReadCloser
	r *recorded
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.r.mu.Lock()
	b.r.sent += int64(n)
	b.r.mu.Unlock()
	return n, err
}

// reset forgets what was asked so far.
func (r *recorded) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.sent = nil, 0
}

// writes are the requests that change a registry, shortened to their method and the kind of thing written.
func (r *recorded) writes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, req := range r.requests {
		method, p, _ := strings.Cut(req, " ")
		if method == http.MethodGet || method == http.MethodHead {
			continue
		}
		if strings.Contains(p, "/blobs/uploads/") {
			p = "blob"
		} else {
			p = path.Base(p)
		}
		out = append(out, method+" "+p)
	}
	slices.Sort(out)
	return out
}

// serve runs a registry, behind the wrappers, and returns its host.
func serve(t testing.TB, wrap ...func(http.Handler) http.Handler) string {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	for _, w := range wrap {
		h = w(h)
	}
	s := httptest.NewServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// quick retries without the pauses that a real registry wants.
var quick = Registry{firstPause: time.Millisecond}

// noConfig keeps the credentials of who runs the tests out of them.
func noConfig(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("REGISTRY_AUTH_FILE", "")
	return dir
}

// unused is an address of this machine at which nothing listens.
func unused(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, ln.Close()) }()
	return ln.Addr().String()
}

// events collects what is reported.
type events struct {
	mu   sync.Mutex
	seen []report.Event
}

func (e *events) in(ctx context.Context) context.Context {
	return report.With(ctx, report.SinkFunc(func(ev report.Event) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.seen = append(e.seen, ev)
	}))
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, ev := range e.seen {
		b.WriteString(ev.Object + ": " + ev.Message + "\n")
	}
	return b.String()
}

// firstBlob is a layer file of a layout, the biggest.
func firstBlob(t testing.TB, dir string) string {
	t.Helper()
	var biggest string
	var size int64
	require.NoError(t, filepath.WalkDir(filepath.Join(dir, "blobs"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if fi, err := d.Info(); err == nil && fi.Size() > size {
			biggest, size = p, fi.Size()
		}
		return nil
	}))
	return biggest
}
