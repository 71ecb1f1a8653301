// Package registrytest gives tests an image registry in the test's own process.
package registrytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
	"github.com/aksflow/aksflow/internal/localplatform/process"
	"github.com/aksflow/aksflow/internal/tool"
)

// Start serves the base images of package baseimage from a registry on a free port of 127.0.0.1, and returns its
// host:port. The images are made on the first use on this machine. What is pushed to the registry stays in memory. The
// registry ends with the test.
func Start(t testing.TB) (host string) {
	t.Helper()
	layouts, err := baseimage.Ensure(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(
		registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithBlobHandler(&blobs{
			memory: registry.NewInMemoryBlobHandler().(memory), dir: filepath.Join(layouts.Dir, "blobs"),
		}),
	))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	for _, repository := range []string{baseimage.Debian, baseimage.Redis} {
		image, err := layouts.Image(repository)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(host + "/" + repository)
		if err != nil {
			t.Fatal(err)
		}
		// The registry finds the layers in the layout, so only the manifest is sent.
		if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	return host
}

// Distribution serves the registry that most of the world runs, which has no API for referrers, and returns its host:port. It
// ends with the test. Without the registry's program the test is skipped.
func Distribution(t testing.TB) (host string) {
	t.Helper()
	program, err := tool.Find("registry", "")
	if err != nil {
		t.Skipf("no registry for this test: %v", err)
	}
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	file := filepath.Join(dir, "registry.yml")
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q, relativeurls: true}\n", filepath.Join(dir, "data"), address)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	running, err := process.Start(ctx, process.Spec{
		Name: "registry", Path: program, Args: []string{"serve", file}, Env: []string{"OTEL_TRACES_EXPORTER=none"},
		Ready: func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}, dir)
	if err != nil {
		end()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end()
		<-running.Done()
	})
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := running.AwaitReady(starting); err != nil {
		t.Fatal(err)
	}
	return address
}

// memory is the registry's own blob store, with all its optional parts.
type memory interface {
	registry.BlobHandler
	registry.BlobStatHandler
	registry.BlobPutHandler
}

// blobs serves a layout's blobs without copying them. It keeps pushed blobs in memory, so that no test writes into the
// cache that it shares with others.
type blobs struct {
	memory
	dir string
}

func (b *blobs) path(h v1.Hash) string { return filepath.Join(b.dir, h.Algorithm, h.Hex) }

// Stat implements registry.BlobStatHandler.
func (b *blobs) Stat(ctx context.Context, repo string, h v1.Hash) (int64, error) {
	fi, err := os.Stat(b.path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return b.memory.Stat(ctx, repo, h)
	}
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// Get implements registry.BlobHandler.
func (b *blobs) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	f, err := os.Open(b.path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return b.memory.Get(ctx, repo, h)
	}
	return f, err
}
