package kustomize

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/manifest"
)

// BenchmarkJudge sets the image that every 100th app of a repository of 10,000 manifests has, without and with
// kustomize as the judge of what comes out. With it, the environments that the edit reaches are rendered: 25 of 2,500.
func BenchmarkJudge(b *testing.B) {
	const apps, fleet = 2500, 100
	root := b.TempDir()
	write := func(name, content string) {
		full := filepath.Join(root, name)
		require.NoError(b, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(b, os.WriteFile(full, []byte(content), 0o644))
	}
	write(".git/HEAD", "")
	reset := func() {
		for i := range apps {
			app := fmt.Sprintf("apps/team%d/app%d", i/50, i)
			sidecar := "shop/proxy:1"
			if i%fleet == 0 {
				sidecar = "registry.example.com/shop/vote:1.0.0"
			}
			write(app+"/deployment.yaml", strings.Replace(deployment, "image: web:1}", fmt.Sprintf("image: registry.example.com/shop/app%d:1}, {name: sidecar, image: '%s'}", i, sidecar), 1))
			write(app+"/service.yaml", fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: app%d}\nspec: {ports: [{port: 80}]}\n", i))
			write(app+"/configmap.yaml", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app%d}\ndata:\n  settings.ini: |\n%s", i, strings.Repeat("    key = value # a line of settings\n", 30)))
			write(app+"/kustomization.yaml", "resources:\n- deployment.yaml\n- service.yaml\n- configmap.yaml\n")
		}
	}
	target := manifest.Target{Image: "registry.example.com/shop/vote:1.2.0@sha256:" + strings.Repeat("0123456789abcdef", 4)}
	for _, c := range []struct {
		name    string
		options manifest.Options
	}{{"without", manifest.Options{}}, {"with", manifest.Options{Build: Build, Strict: true}}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				reset()
				b.StartTimer()
				edit, err := manifest.SetDir(b.Context(), root, target, c.options)
				require.NoError(b, err)
				require.Len(b, edit.Changes, apps/fleet)
			}
		})
	}
}
