// Command release makes what a release of aksflow consists of: for each architecture an archive and a Debian package of the
// command, its engine and the local platform, with a bill of materials, and an image of the command; then checksums and the
// statement of provenance. The same source, version, time and toolchain give the same bytes.
//
//	release -version v1.2.3 -commit COMMIT -time UNIXTIME -out dist -aksflow bin/aksflow amd64 arm64
//
// With -bin DIR it packs the programs that are there in place of building them. Without -aksflow it makes no images.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// program is one of the programs of a release.
type program struct {
	name, dir, pkg string // dir is that of its module
}

var programs = []program{
	{"aksflow", ".", "."},
	{"aksflow-shim", ".", "./internal/engine/embedded/shim"},
	{"aksflow-platform", ".", "./cmd/aksflow-platform"},
	{"buildkitd", "tools/buildkit", "github.com/moby/buildkit/cmd/buildkitd"},
	{"rootlesskit", "tools/rootlesskit", "github.com/rootless-containers/rootlesskit/v3/cmd/rootlesskit"},
}

// release is one release.
type release struct {
	version string // v1.2.3
	commit  string
	time    time.Time
	out     string
	bin     string // prebuilt programs, instead of building them
	aksflow string // the words of the command that builds images; "" builds none
	run     string // the URL of the CI run
	source  string // the URL of the repository
}

func main() {
	var r release
	var unix int64
	flag.StringVar(&r.version, "version", "", "the version, v1.2.3")
	flag.StringVar(&r.commit, "commit", "", "the commit that is released")
	flag.Int64Var(&unix, "time", 0, "the time of the commit, in seconds: that of every file in the release")
	flag.StringVar(&r.out, "out", "dist", "the directory to write to; it must not exist")
	flag.StringVar(&r.bin, "bin", "", "a directory with the programs, in place of building them; for one architecture")
	flag.StringVar(&r.aksflow, "aksflow", "", "the command that builds the images, such as 'sudo bin/aksflow'; none builds no images")
	flag.StringVar(&r.run, "run", "", "the URL of the run that makes the release")
	flag.StringVar(&r.source, "source", "https://github.com/aksflow/aksflow", "the URL of the repository")
	flag.Parse()
	if !strings.HasPrefix(r.version, "v") || r.commit == "" || unix == 0 || flag.NArg() == 0 || r.bin != "" && flag.NArg() > 1 {
		flag.Usage()
		os.Exit(2)
	}
	r.time = time.Unix(unix, 0).UTC()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := r.make(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// make makes the release in a directory beside out, which it becomes when all is there.
func (r *release) make(ctx context.Context, architectures []string) error {
	if _, err := os.Stat(r.out); err == nil {
		return fmt.Errorf("%s is there already: remove it first", r.out)
	}
	out := r.out
	work, err := os.MkdirTemp(filepath.Dir(filepath.Clean(out)), ".release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	for _, arch := range architectures {
		if err := r.architecture(ctx, work, arch); err != nil {
			return err
		}
	}
	if err := r.attest(work); err != nil {
		return err
	}
	return os.Rename(work, out)
}

// architecture makes the files of one architecture.
func (r *release) architecture(ctx context.Context, out, arch string) error {
	bin := r.bin
	if bin == "" {
		var err error
		if bin, err = os.MkdirTemp("", "aksflow-release-"); err != nil {
			return err
		}
		defer os.RemoveAll(bin)
		for _, p := range programs {
			fmt.Printf("%s for linux/%s\n", p.name, arch)
			if err := r.build(ctx, p, arch, filepath.Join(bin, p.name)); err != nil {
				return fmt.Errorf("building %s for linux/%s: %w", p.name, arch, err)
			}
		}
	}
	name := fmt.Sprintf("aksflow_%s_linux_%s", strings.TrimPrefix(r.version, "v"), arch)
	if err := r.archive(filepath.Join(out, name+".tar.gz"), bin); err != nil {
		return err
	}
	if err := r.debianPackage(filepath.Join(out, name+".deb"), bin, arch); err != nil {
		return err
	}
	if err := r.billOfMaterials(filepath.Join(out, name+".cdx.json"), bin, arch); err != nil {
		return err
	}
	return r.image(ctx, filepath.Join(out, "image-"+arch+".tar"), bin, arch)
}

//go:embed Dockerfile
var dockerfile []byte

// image builds the image of the command for an architecture, as a file that `aksflow publish --image` pushes.
func (r *release) image(ctx context.Context, to, bin, arch string) (err error) {
	words := strings.Fields(r.aksflow)
	if len(words) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp("", "aksflow-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(filepath.Join(dir, "bin"), os.DirFS(bin)); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"aksflow.yaml":  []byte("app: aksflow\nbuild: {platform: linux/" + arch + "}\n"),
		"Dockerfile":    dockerfile,
		".dockerignore": []byte("*\n!bin/aksflow\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	if to, err = filepath.Abs(to); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], "build", "--config", filepath.Join(dir, "aksflow.yaml"), "-o", to)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the image for linux/%s: %w", arch, err)
	}
	return nil
}

// build builds a program: without paths of this machine, without its C library, and without what differs from one build to
// the next. It compiles as make does, whose packages it then finds compiled.
func (r *release) build(ctx context.Context, p program, arch, to string) error {
	flags := "-s -w -buildid="
	if p.name == "aksflow" {
		flags += " -X main.version=" + r.version
	}
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-gcflags=all=-dwarf=false", "-gcflags=k8s.io/...=-dwarf=false -l",
		"-buildvcs=false", "-ldflags", flags, "-o", to, p.pkg)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOFLAGS=", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
