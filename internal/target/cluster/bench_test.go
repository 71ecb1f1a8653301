package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
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
// kubectl in the same run: two programs against one API server, on this machine and 10 ms away.
//
//	AKSFLOW_BIN=$PWD/bin go test ./internal/target/cluster -run XXX -bench ManyObjects -benchtime 1x
func BenchmarkManyObjects(b *testing.B) {
	s := testServer(b)
	bin := os.Getenv("AKSFLOW_BIN")
	for _, program := range []string{"aksflow", "kubernetes"} {
		if _, err := os.Stat(filepath.Join(bin, program)); bin == "" || err != nil {
			b.Skip("set AKSFLOW_BIN to the directory of aksflow and of the Kubernetes binary, which is kubectl too")
		}
	}
	first, fifty, all := many(500, 0), many(500, 50), many(500, 500)
	steps := []struct {
		name, yaml, verb string
	}{
		{"first apply", first, "apply"},
		{"no-op apply", first, "apply"},
		{"diff, none differ", first, "diff"},
		{"diff, 50 differ", fifty, "diff"},
		{"diff, all differ", all, "diff"},
	}
	for _, network := range []struct {
		name  string
		delay time.Duration // each way
	}{{"here", 0}, {"10 ms away", 5 * time.Millisecond}} {
		b.Run(network.name, func(b *testing.B) {
			kubeconfig := s.Kubeconfig
			if network.delay > 0 {
				kubeconfig = farAway(b, s.Kubeconfig, network.delay)
			}
			for i := range b.N {
				ours, theirs := fmt.Sprintf("bench-a-%d-%d", network.delay, i), fmt.Sprintf("bench-k-%d-%d", network.delay, i)
				newNamespace(b, s, ours)
				newNamespace(b, s, theirs)
				dir := b.TempDir()
				var table strings.Builder
				fmt.Fprintf(&table, "\n%-20s %22s %24s %8s\n", "500 objects", "aksflow", "kubectl", "ratio")
				for _, step := range steps {
					require.NoError(b, os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(step.yaml), 0o600))
					verb := map[string]string{"apply": "deploy", "diff": "diff"}[step.verb]
					a := measure(b, step.yaml, filepath.Join(bin, "aksflow"), verb, "--app", "bench", "--namespace", ours, "--manifests", dir, "--kubeconfig", kubeconfig)
					k := measure(b, step.yaml, filepath.Join(bin, "kubectl"), step.verb, "--server-side", "--kubeconfig", kubeconfig, "-n", theirs, "-f", "-")
					fmt.Fprintf(&table, "%-20s %8.2f s %7.0f MiB %10.2f s %7.0f MiB %8.2f\n", step.name, a.seconds, a.mebibytes, k.seconds, k.mebibytes, a.seconds/k.seconds)
					b.ReportMetric(a.seconds/k.seconds, strings.NewReplacer(" ", "-", ",", "").Replace(step.name)+"/kubectl")
				}
				b.Log(table.String())
			}
		})
	}
}

type cost struct{ seconds, mebibytes float64 }

// measure runs a program to its end. A diff that found differences ends with 1.
func measure(b *testing.B, stdin, program string, args ...string) cost {
	b.Helper()
	command := exec.CommandContext(context.Background(), program, args...)
	command.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	began := time.Now()
	err := command.Run()
	took := time.Since(began)
	if code := command.ProcessState.ExitCode(); err != nil && (code != 1 || !strings.Contains(out.String(), "+++ ")) {
		b.Fatalf("%s %v: %v\n%s", program, args, err, out.String())
	}
	return cost{took.Seconds(), float64(command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024}
}

// farAway is a kubeconfig whose API server is as far away as delay says, each way.
func farAway(b *testing.B, kubeconfig string, delay time.Duration) string {
	b.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	require.NoError(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() })
	for _, cluster := range config.Clusters {
		u, err := url.Parse(cluster.Server)
		require.NoError(b, err)
		target := u.Host
		u.Host = l.Addr().String()
		cluster.Server = u.String()
		go func() {
			for {
				near, err := l.Accept()
				if err != nil {
					return
				}
				far, err := net.Dial("tcp", target)
				if err != nil {
					_ = near.Close()
					continue
				}
				go late(far, near, delay)
				go late(near, far, delay)
			}
		}()
	}
	path := filepath.Join(b.TempDir(), "kubeconfig")
	require.NoError(b, clientcmd.WriteToFile(*config, path))
	return path
}

// late copies what comes, each piece by delay later, however many pieces are on their way.
func late(to, from net.Conn, delay time.Duration) {
	type piece struct {
		data []byte
		due  time.Time
	}
	way := make(chan piece, 4096)
	go func() {
		defer close(way)
		for {
			data := make([]byte, 32<<10)
			n, err := from.Read(data)
			if n > 0 {
				way <- piece{data[:n], time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	_, _ = to.Close(), from.Close()
}
