package engine

import (
	"context"
	"os/exec"
	"runtime/debug"
	"strings"

	"dagger.io/dagger/engineconn"

	"github.com/aksflow/aksflow/internal/tool"
)

// Versions are those of what builds and tests. What is not installed is "".
type Versions struct {
	// Dagger is the version of Dagger's API that is spoken, with either engine.
	Dagger string `json:"dagger"`
	// BuildKit is the version of the client in this program.
	BuildKit string `json:"buildkit"`
	// Embedded is how the embedded engine runs containers here: "embedded", "embedded, on the BuildKit of …".
	Embedded string `json:"embedded"`
	// DaggerCLI, BuildKitDaemon and Runc are what the installed programs say of themselves.
	DaggerCLI      string `json:"daggerCLI,omitempty"`
	BuildKitDaemon string `json:"buildkitDaemon,omitempty"`
	Runc           string `json:"runc,omitempty"`
}

// FindVersions asks the programs that are installed. Env has the form of os.Environ.
func FindVersions(ctx context.Context, env []string) Versions {
	v := Versions{Dagger: "v" + strings.TrimPrefix(engineconn.CLIVersion, "v"), BuildKit: moduleVersion("github.com/moby/buildkit")}
	if cli, err := exec.LookPath(daggerProgram(newEnvironment(env))); err == nil {
		v.DaggerCLI, _ = cliVersion(ctx, cli)
	}
	if host, err := newHost(Options{Env: env}); err == nil {
		v.Embedded = mode(host)
	} else {
		v.Embedded = err.Error()
	}
	v.BuildKitDaemon = programVersion(ctx, "buildkitd")
	v.Runc = programVersion(ctx, "runc")
	return v
}

// programVersion is the first line that a program prints for --version; "" if it is not there.
func programVersion(ctx context.Context, name string) string {
	path, err := tool.Find(name, name)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// moduleVersion is the version of a module that this program was built with.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}
