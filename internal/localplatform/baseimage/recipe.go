package baseimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	suite = "trixie"
	// epoch is trixie's release day. It is the newest time of any file of an image, so that the same packages make the same
	// layers.
	epoch = 1754697600

	layoutDir = "layout" // below the working directory of build

	// recipeVersion is part of the cache's key. Raise it when a change of the code below changes the images.
	recipeVersion = "1"
)

var (
	//go:embed rootfs/docker-entrypoint.sh
	entrypoint []byte
	//go:embed rootfs/docker-clean
	dockerClean []byte
)

// slim is how both images differ from a plain minimal Debian. The public slim image differs in the same way.
var slim = []string{
	"--variant=minbase",
	"--format=tar",
	"--dpkgopt=force-unsafe-io",
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-include=/usr/share/doc/*/copyright",
	"--dpkgopt=path-exclude=/usr/share/info/*",
	"--dpkgopt=path-exclude=/usr/share/lintian/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	`--aptopt=Apt::AutoRemove::SuggestsImportant "false"`,
	`--aptopt=Acquire::GzipIndexes "true"`,
	`--aptopt=Acquire::Languages "none"`,
	// Uploaded at the end, because with these settings apt would clean the host's cache while it installs from outside.
	"--customize-hook=upload docker-clean /etc/apt/apt.conf.d/docker-clean",
	// With these settings apt does not know these caches, and mmdebstrap relies on apt to remove them.
	`--customize-hook=rm -f "$1"/var/cache/apt/*.bin "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old`,
	// mmdebstrap copies them from the host.
	`--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"`,
}

// redis is what the second image has on top. The user and group IDs are those of the public image, because manifests use the
// numbers. Debian's package uses a user that exists.
var redis = []string{
	"--include=redis-server",
	`--essential-hook=` +
		`echo "redis:x:999:" >>"$1/etc/group"; echo "redis:!::" >>"$1/etc/gshadow"; ` +
		`echo "redis:x:999:999::/data:/usr/sbin/nologin" >>"$1/etc/passwd"; echo "redis:!:20300::::::" >>"$1/etc/shadow"`,
	`--customize-hook=install -d -o 999 -g 999 "$1/data"`,
	"--customize-hook=upload docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh",
	`--customize-hook=chmod 0755 "$1/usr/local/bin/docker-entrypoint.sh"`,
}

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

var (
	debianConfig = v1.Config{Env: []string{path}, Cmd: []string{"bash"}}
	redisConfig  = v1.Config{
		Env:          []string{path},
		Entrypoint:   []string{"docker-entrypoint.sh"},
		Cmd:          []string{"redis-server"},
		WorkingDir:   "/data",
		ExposedPorts: map[string]struct{}{"6379/tcp": {}},
		Volumes:      map[string]struct{}{"/data": {}},
	}
)

// recipeKey returns a hash over everything that build's result depends on.
func recipeKey() (string, error) {
	h := sha256.New()
	for _, s := range [][]string{{recipeVersion, suite, strconv.Itoa(epoch), runtime.GOARCH, string(entrypoint), string(dockerClean)}, slim, redis} {
		fmt.Fprintf(h, "%q\n", s)
	}
	// apt's files are read instead of asking apt, which takes a second.
	files, err := filepath.Glob("/etc/apt/sources.list.d/*")
	if err != nil {
		return "", err
	}
	for _, f := range append([]string{"/etc/apt/sources.list"}, files...) {
		content, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read apt's sources: %w", err)
		}
		fmt.Fprintf(h, "%q %q\n", f, content)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// build makes the layout in dir/layoutDir.
func build(ctx context.Context, dir string) error {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return errors.New("mmdebstrap makes the base images from Debian packages, and is not on PATH: apt-get install mmdebstrap debian-archive-keyring")
	}
	for file, content := range map[string][]byte{"docker-entrypoint.sh": entrypoint, "docker-clean": dockerClean} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			return fmt.Errorf("make base images: %w", err)
		}
	}
	options, sources, err := aptConfiguration(ctx)
	if err != nil {
		return err
	}
	options = append(options, slim...)

	began := time.Now()
	report.Info(ctx, "making the base images %s and %s from Debian packages, once", Debian, Redis)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return mmdebstrap(gctx, dir, Debian, "debian.tar", sources, options) })
	g.Go(func() error {
		return mmdebstrap(gctx, dir, Redis, "redis.tar", sources, append(options[:len(options):len(options)], redis...))
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := writeLayout(dir); err != nil {
		return fmt.Errorf("make base images: %w", err)
	}
	report.Info(ctx, "made the base images in %s", report.Span(time.Since(began).Round(time.Second)))
	return nil
}

// mmdebstrap makes one root file system as a tar file in dir. Without sources mmdebstrap takes Debian's own.
func mmdebstrap(ctx context.Context, dir, image, file string, sources, options []string) error {
	args := append(options[:len(options):len(options)], suite, file)
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(args, sources...)...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch), "LC_ALL=C.UTF-8")
	out := &output{line: func(s string) { report.Progressf(ctx, image, "%s", strings.TrimPrefix(s, "I: ")) }}
	cmd.Stdout, cmd.Stderr = out, out
	interruptible(cmd)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("make the base image %s: %w", image, context.Cause(ctx))
		}
		return fmt.Errorf("make the base image %s: mmdebstrap: %w\n%s\n"+
			"check that apt reaches its mirror (apt-get update) and that the keyring knows %s (apt-get install debian-archive-keyring)",
			image, err, out.tail(), suite)
	}
	return nil
}

// output splits a command's output into lines and keeps the last ones for an error.
type output struct {
	line    func(string)
	partial []byte
	last    []string
}

func (o *output) Write(p []byte) (int, error) {
	o.partial = append(o.partial, p...)
	for {
		line, rest, found := bytes.Cut(o.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		o.partial = rest
		s := strings.TrimRight(string(line), "\r")
		o.last = append(o.last, s)
		if len(o.last) > 20 {
			o.last = o.last[1:]
		}
		o.line(s)
	}
}

func (o *output) tail() string {
	return strings.Join(append(o.last, string(o.partial)), "\n")
}
