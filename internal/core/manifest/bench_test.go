package manifest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// helperVariable makes the test binary set an image and exit, so that its time and peak memory are those of a process
// of its own, as the other tools' are.
const helperVariable = "AKSFLOW_MANIFEST_BENCHMARK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperVariable); dir != "" {
		edit, err := SetDir(context.Background(), dir, propertyTarget, Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(len(edit.Changes))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// monorepo writes apps of four manifests each; every fleet-th one has the image besides its own.
func monorepo(b *testing.B, manifests, fleet int) string {
	b.Helper()
	root := b.TempDir()
	write := func(name, content string) {
		full := filepath.Join(root, name)
		require.NoError(b, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(b, os.WriteFile(full, []byte(content), 0o644))
	}
	for i := range manifests / 4 {
		app := fmt.Sprintf("apps/team%d/app%d", i/50, i)
		sidecar := "shop/proxy:1"
		if i%fleet == 0 {
			sidecar = "shop/vote:1.0.0"
		}
		write(app+"/deployment.yaml", fmt.Sprintf(`# app %[1]d
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app%[1]d
  labels: {app.kubernetes.io/name: app%[1]d, app.kubernetes.io/part-of: shop}
spec:
  replicas: 3
  selector:
    matchLabels: {app.kubernetes.io/name: app%[1]d}
  template:
    metadata:
      labels: {app.kubernetes.io/name: app%[1]d}
    spec:
      containers:
        - name: app # the app itself
          image: registry.example.com/shop/app%[1]d:1.0.0
          ports: [{containerPort: 8080, name: http}]
          readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 5}
          resources:
            requests: {cpu: 100m, memory: 128Mi}
            limits: {memory: 256Mi}
        - name: sidecar
          image: %[2]s # shared
`, i, sidecar))
		write(app+"/service.yaml", fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: app%[1]d}\nspec:\n  selector: {app.kubernetes.io/name: app%[1]d}\n  ports:\n  - {port: 80, targetPort: http}\n", i))
		write(app+"/configmap.yaml", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app%[1]d}\ndata:\n  settings.ini: |\n%s", i, strings.Repeat("    key = value # a line of settings\n", 30)))
		write(app+"/kustomization.yaml", "resources:\n- deployment.yaml\n- service.yaml\n- configmap.yaml\n")
	}
	return root
}

// tool finds a program that a user would take instead.
func tool(b *testing.B, name string) string {
	b.Helper()
	for _, dir := range []string{os.Getenv("AKSFLOW_BIN"), "../../../bin"} {
		if full, err := filepath.Abs(filepath.Join(dir, name)); err == nil && dir != "" {
			if _, err := os.Stat(full); err == nil {
				return full
			}
		}
	}
	full, err := exec.LookPath(name)
	if err != nil {
		b.Skipf("needs %s: (cd tools/%s && go build -o ../../bin/%s …) as its go.mod says", name, name, name)
	}
	return full
}

// run runs commands, as many at a time as there are processors, and returns the largest peak memory in bytes.
func run(b *testing.B, commands []*exec.Cmd) (peak int64) {
	b.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan *exec.Cmd)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for cmd := range next {
				out, err := cmd.CombinedOutput()
				mu.Lock()
				if err != nil {
					b.Errorf("%s: %v: %s", cmd, err, out)
				} else if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
					peak = max(peak, usage.Maxrss<<10)
				}
				mu.Unlock()
			}
		})
	}
	for _, cmd := range commands {
		next <- cmd
	}
	close(next)
	wg.Wait()
	return peak
}

// BenchmarkMonorepo sets the image that every 100th app of a repository has. aksflow finds it; yq is given every
// manifest, one process each, which is what -i can; kustomize is run in every directory, since it does not look where the
// image is, and adds an entry to each.
func BenchmarkMonorepo(b *testing.B) {
	const fleet = 100
	for _, manifests := range []int{1000, 10000} {
		aksflow := func(b *testing.B) {
			self, err := os.Executable()
			require.NoError(b, err)
			var peak int64
			for range b.N {
				b.StopTimer()
				root := monorepo(b, manifests, fleet)
				cmd := exec.Command(self)
				cmd.Env = append(os.Environ(), helperVariable+"="+root)
				b.StartTimer()
				peak = max(peak, run(b, []*exec.Cmd{cmd}))
			}
			b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
		}
		b.Run(fmt.Sprintf("aksflow/%d", manifests), aksflow)
	}
	const manifests = 10000
	b.Run(fmt.Sprintf("yq/%d", manifests), func(b *testing.B) {
		yq := tool(b, "yq")
		root := monorepo(b, manifests, fleet)
		expression := `(.. | select(has("image")) | select(.image | test("shop/vote[:@]")) | .image) = "` + propertyImage + `"`
		for b.Loop() {
			var commands []*exec.Cmd
			err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					commands = append(commands, exec.Command(yq, "-i", expression, name))
				}
				return err
			})
			require.NoError(b, err)
			b.ReportMetric(float64(run(b, commands))/(1<<20), "peak-MiB")
		}
	})
	b.Run(fmt.Sprintf("kustomize/%d", manifests/4), func(b *testing.B) {
		kustomize := tool(b, "kustomize")
		root := monorepo(b, manifests, fleet)
		for b.Loop() {
			var commands []*exec.Cmd
			for i := range manifests / 4 {
				cmd := exec.Command(kustomize, "edit", "set", "image", "shop/vote="+propertyImage)
				cmd.Dir = filepath.Join(root, fmt.Sprintf("apps/team%d/app%d", i/50, i))
				commands = append(commands, cmd)
			}
			b.ReportMetric(float64(run(b, commands))/(1<<20), "peak-MiB")
		}
	})
}
