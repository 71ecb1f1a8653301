package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// BenchmarkModuleCompile measures what a Dagger engine compiles before it can list the functions of the module in ci/ for
// the first time: every package that the module imports, the standard library's too, with an empty build cache.
func BenchmarkModuleCompile(b *testing.B) {
	run := func(cache string, args ...string) ([]byte, *os.ProcessState) {
		cmd := exec.Command("go", args...)
		cmd.Dir = "ci"
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0", "GOCACHE="+cache)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			b.Fatalf("go %s: %v\n%s", args[0], err, &stderr)
		}
		return out, cmd.ProcessState
	}
	// What Dagger generates is not in the repository: -e skips it. All that it imports is in the SDK, which is listed.
	out, _ := run(b.TempDir(), "list", "-e", "-deps", "-f", "{{if not .Error}}{{if ne .Name \"main\"}}{{.ImportPath}}{{end}}{{end}}", ".")
	packages := strings.Fields(string(out))
	var seconds float64
	for b.Loop() {
		_, state := run(b.TempDir(), append([]string{"build"}, packages...)...)
		seconds += (state.UserTime() + state.SystemTime()).Seconds()
	}
	b.ReportMetric(seconds/float64(b.N), "CPU-s/op")
	b.ReportMetric(float64(len(packages)), "packages")
}
