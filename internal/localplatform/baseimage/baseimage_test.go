package baseimage

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gofrs/flock"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
)

// ensured returns the images, and skips the test if they cannot be made.
func ensured(t *testing.T) Layouts {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("mmdebstrap runs on Linux only")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("needs mmdebstrap: apt-get install mmdebstrap")
	}
	l, err := Ensure(t.Context(), "")
	require.NoError(t, err)
	return l
}

func TestImages(t *testing.T) {
	l := ensured(t)
	for _, ref := range []string{Debian, Redis} {
		t.Run(ref, func(t *testing.T) {
			img, err := l.Image(ref)
			require.NoError(t, err)
			require.NoError(t, validate.Image(img))
			config, err := img.ConfigFile()
			require.NoError(t, err)
			require.Equal(t, "linux", config.OS)
			require.Equal(t, runtime.GOARCH, config.Architecture)

			seen := map[string]*tar.Header{}
			rc := mutate.Extract(img)
			defer func() { require.NoError(t, rc.Close()) }()
			for tr := tar.NewReader(rc); ; {
				h, err := tr.Next()
				if err != nil {
					break
				}
				seen["/"+strings.TrimPrefix(filepath.Clean(h.Name), "/")] = h
			}
			require.Contains(t, seen, "/usr/bin/apt-get")
			require.Contains(t, seen, "/etc/apt/apt.conf.d/docker-clean")
			require.Contains(t, seen, keyring)
			require.NotContains(t, seen, "/etc/hostname", "from the host")
			require.NotContains(t, seen, "/etc/resolv.conf", "from the host")
			require.NotContains(t, seen, "/usr/share/man/man1")
			if ref == Redis {
				require.Contains(t, seen, "/usr/bin/redis-server")
				require.Equal(t, 999, seen["/data"].Uid)
				require.Equal(t, int64(0o755), seen["/usr/local/bin/docker-entrypoint.sh"].Mode&0o777)
			}
		})
	}
}

// The second image consists of the first and a small layer.
func TestRedisIsOnDebian(t *testing.T) {
	l := ensured(t)
	debian, err := l.Image(Debian)
	require.NoError(t, err)
	redis, err := l.Image(Redis)
	require.NoError(t, err)
	base, err := debian.Layers()
	require.NoError(t, err)
	both, err := redis.Layers()
	require.NoError(t, err)
	require.Len(t, base, 1)
	require.Len(t, both, 2)
	want, _ := base[0].Digest()
	got, _ := both[0].Digest()
	require.Equal(t, want, got)
	size, err := both[1].Size()
	require.NoError(t, err)
	require.Less(t, size, int64(10<<20))
}

func TestEnsureWithoutMmdebstrap(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Ensure(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "apt-get install mmdebstrap")
}

func TestEnsureCancelled(t *testing.T) {
	ensured(t) // skips without mmdebstrap
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The first line of mmdebstrap's output shows that it runs.
	ctx = report.With(ctx, report.SinkFunc(func(e report.Event) {
		if e.Kind == report.Progress {
			cancel()
		}
	}))
	_, err := Ensure(ctx, dir)
	require.ErrorIs(t, err, context.Canceled)
	left, err := filepath.Glob(filepath.Join(dir, "making-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestEnsureWaitsForAnother(t *testing.T) {
	dir := t.TempDir()
	lock := flock.New(filepath.Join(dir, "lock"))
	require.NoError(t, lock.Lock())
	defer func() { require.NoError(t, lock.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ctx = report.With(ctx, report.SinkFunc(func(report.Event) { cancel() }))
	_, err := Ensure(ctx, dir)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "wait for another process")
}

func TestDebianMirror(t *testing.T) {
	for _, tt := range []struct{ name, targets, codename, want string }{
		{"lists fetched", "Packages|main|Docker|Docker CE|bookworm|http://other/\nPackages|main|Debian|Debian|bookworm|http://mirror/debian/\n", "bookworm", "http://mirror/debian/"},
		{"lists not fetched", "Packages|main|$(ORIGIN)|$(LABEL)|bookworm-security|http://sec/\nPackages|main|$(ORIGIN)|$(LABEL)|bookworm|http://mirror/debian/\n", "bookworm", "http://mirror/debian/"},
		{"another distribution", "Packages|main|Ubuntu|Ubuntu|noble|http://mirror/ubuntu/\n", "", ""},
		{"nothing", "", "bookworm", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, debianMirror(tt.targets, tt.codename))
		})
	}
}

func TestNetworkOptions(t *testing.T) {
	require.Equal(t,
		[]string{`--aptopt=Acquire::Check-Valid-Until "false"`, `--aptopt=Acquire::http::Proxy "http://proxy:3128/"`},
		networkOptions("Acquire \"\";\nAcquire::Check-Valid-Until \"false\";\nAcquire::http::Proxy \"http://proxy:3128/\";\nAcquire::https::Proxy \"http://user:word@proxy:3128/\";\nAcquire::Languages \"\";\n"))
}

func TestDiff(t *testing.T) {
	dir := t.TempDir()
	lower, upper := filepath.Join(dir, "lower.tar"), filepath.Join(dir, "upper.tar")
	write := func(file string, content ...string) {
		var buf bytes.Buffer
		tw := tar.NewWriter(&buf)
		for i := 0; i < len(content); i += 2 {
			require.NoError(t, tw.WriteHeader(&tar.Header{Name: content[i], Mode: 0o644, Size: int64(len(content[i+1]))}))
			_, err := tw.Write([]byte(content[i+1]))
			require.NoError(t, err)
		}
		require.NoError(t, tw.Close())
		require.NoError(t, os.WriteFile(file, buf.Bytes(), 0o600))
	}
	write(lower, "same", "1", "changed", "1")
	write(upper, "same", "1", "changed", "2", "new", "3")

	var buf bytes.Buffer
	require.NoError(t, diff(&buf, lower, upper))
	got := map[string]string{}
	for tr := tar.NewReader(&buf); ; {
		h, err := tr.Next()
		if err != nil {
			break
		}
		var content bytes.Buffer
		_, err = content.ReadFrom(tr)
		require.NoError(t, err)
		got[h.Name] = content.String()
	}
	require.Equal(t, map[string]string{"changed": "2", "new": "3"}, got)

	write(upper, "same", "1")
	require.ErrorContains(t, diff(&buf, lower, upper), "changed is in lower.tar and not in upper.tar")
}
