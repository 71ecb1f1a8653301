package deploy_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/deploy"
)

// many are n objects that are there as soon as they are stored: kubectl does not wait for those that are not. The first
// changed of them differ from what they are with none.
func many(n, changed int) string {
	var b strings.Builder
	for i := range n {
		value := "one"
		if i < changed {
			value = "two"
		}
		switch i % 5 {
		case 0, 1:
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata: {a: %q, b: %s}\n", i, strings.Repeat("x", 500), value)
		case 2:
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d}\nspec: {selector: {app: %s}, ports: [{port: 80, targetPort: 8080}]}\n", i, value)
		case 3:
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s%d, labels: {app: %s}}\ndata: {a: aGVsbG8=}\n", i, value)
		case 4:
			fmt.Fprintf(&b, "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: j%d}\nspec: {schedule: '0 0 1 1 *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: web, image: web, env: [{name: A, value: %s}]}]}}}}}\n", i, value)
		}
	}
	return b.String()
}

// BenchmarkManyObjects applies 500 objects for the first time and again without a change, and shows diffs, each beside
// kubectl in the same run:
//
//	AKSFLOW_BIN=$PWD/bin go test ./internal/deploy -run XXX -bench ManyObjects -benchtime 1x
func BenchmarkManyObjects(b *testing.B) {
	s := testServer(b)
	kubectl := filepath.Join(os.Getenv("AKSFLOW_BIN"), "kubernetes")
	if _, err := os.Stat(kubectl); err != nil {
		b.Skip("set AKSFLOW_BIN to the directory of the Kubernetes binary, which is kubectl too")
	}
	ctx := context.Background()
	run := func(b *testing.B, stdin string, args ...string) float64 {
		command := exec.CommandContext(ctx, kubectl, append([]string{"kubectl", "--kubeconfig", s.Kubeconfig}, args...)...)
		command.Stdin = strings.NewReader(stdin)
		var out bytes.Buffer
		command.Stdout, command.Stderr = &out, &out
		err := command.Run()
		if code := command.ProcessState.ExitCode(); code > 1 || err != nil && args[0] != "diff" {
			b.Fatalf("kubectl %v: %v\n%s", args, err, out.String())
		}
		return float64(command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024
	}
	for range b.N {
		newNamespace(b, s, "bench-a")
		newNamespace(b, s, "bench-k")
		first, fifty, all := many(500, 0), many(500, 50), many(500, 500)
		c, err := deploy.Connect(ctx, deploy.Options{Kubeconfig: s.Kubeconfig})
		require.NoError(b, err)
		release := func(yaml string) deploy.Release {
			return deploy.Release{App: "bench", Namespace: "bench-a", Objects: manifests(b, yaml, "bench-a")}
		}
		diffOf := func(yaml string, changed int) func() {
			return func() {
				diff, err := c.Diff(ctx, release(yaml))
				require.NoError(b, err)
				require.Equal(b, changed, strings.Count(diff, "+++ "))
			}
		}
		steps := []struct {
			name   string
			ours   func()
			theirs func() float64
		}{
			{"first apply", func() {
				_, err := c.Deploy(ctx, release(first))
				require.NoError(b, err)
			}, func() float64 { return run(b, first, "apply", "--server-side", "-n", "bench-k", "-f", "-") }},
			{"no-op apply", func() {
				result, err := c.Deploy(ctx, release(first))
				require.NoError(b, err)
				require.False(b, result.Changed())
			}, func() float64 { return run(b, first, "apply", "--server-side", "-n", "bench-k", "-f", "-") }},
			{"diff, none differ", diffOf(first, 0), func() float64 { return run(b, first, "diff", "--server-side", "-n", "bench-k", "-f", "-") }},
			{"diff, 50 differ", diffOf(fifty, 50), func() float64 { return run(b, fifty, "diff", "--server-side", "-n", "bench-k", "-f", "-") }},
			{"diff, all differ", diffOf(all, 500), func() float64 { return run(b, all, "diff", "--server-side", "-n", "bench-k", "-f", "-") }},
		}
		var table strings.Builder
		fmt.Fprintf(&table, "\n%-20s %10s %10s %8s %14s %14s\n", "500 objects", "aksflow", "kubectl", "ratio", "aksflow alloc", "kubectl RSS")
		for _, step := range steps {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			began := time.Now()
			step.ours()
			ours := time.Since(began)
			runtime.ReadMemStats(&after)
			began = time.Now()
			rss := step.theirs()
			theirs := time.Since(began)
			fmt.Fprintf(&table, "%-20s %8.2f s %8.2f s %8.2f %10.0f MiB %10.0f MiB\n", step.name, ours.Seconds(), theirs.Seconds(), ours.Seconds()/theirs.Seconds(),
				float64(after.TotalAlloc-before.TotalAlloc)/(1<<20), rss)
			b.ReportMetric(ours.Seconds()/theirs.Seconds(), strings.NewReplacer(" ", "-", ",", "").Replace(step.name)+"/kubectl")
		}
		b.Log(table.String())
	}
}
