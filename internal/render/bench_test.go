package render_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/kustomize"
	"github.com/aksflow/aksflow/internal/render"
)

// The repositories of these benchmarks have 10,000 manifests in 2,500 directories. Every 100th app has the image.
const (
	apps, fleet = 2500, 100
	fleetImage  = "acme.azurecr.io/shop/web"
)

// writeApps writes the files that each app has.
func writeApps(b *testing.B, root string, files func(app int, image string) map[string]string) {
	b.Helper()
	write := func(name, content string) {
		full := filepath.Join(root, name)
		require.NoError(b, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(b, os.WriteFile(full, []byte(content), 0o644))
	}
	write(".git/HEAD", "")
	for i := range apps {
		image := fmt.Sprintf("acme.azurecr.io/shop/app%d", i)
		if i%fleet == 0 {
			image = fleetImage
		}
		for name, content := range files(i, image) {
			write(fmt.Sprintf("apps/team%d/app%d/%s", i/50, i, name), content)
		}
	}
}

// BenchmarkJudgeCharts sets the image in the values of 25 of 2,500 charts, without and with the charts as the judges.
func BenchmarkJudgeCharts(b *testing.B) {
	for name, options := range map[string]manifest.Options{"without": {}, "with": {Chart: render.Chart, Strict: true}} {
		b.Run(name, func(b *testing.B) {
			root := b.TempDir()
			for range b.N {
				b.StopTimer()
				writeApps(b, root, func(_ int, image string) map[string]string {
					return map[string]string{
						"Chart.yaml": judgedChart, "values.yaml": strings.Replace(judgedValues, fleetImage, image, 1),
						"templates/web.yaml": judgedDeployment, "README.md": "a chart\n", "templates/service.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n",
					}
				})
				b.StartTimer()
				edit, err := manifest.SetDir(b.Context(), root, manifest.Target{Image: judgedImage}, options)
				require.NoError(b, err)
				require.NotEmpty(b, edit.Changes)
			}
		})
	}
}

// BenchmarkJudgeOutside sets the image in one base, which 25 of 2,500 kustomizations outside of the path use, without and with
// kustomize as the judge of those.
func BenchmarkJudgeOutside(b *testing.B) {
	for name, options := range map[string]manifest.Options{"without": {}, "with": {Build: kustomize.Build}} {
		b.Run(name, func(b *testing.B) {
			root := b.TempDir()
			for range b.N {
				b.StopTimer()
				writeApps(b, root, func(app int, image string) map[string]string {
					resources := "resources:\n- deployment.yaml\n- service.yaml\n- configmap.yaml\n"
					if app%fleet == 0 && app > 0 {
						resources += "- ../../team0/app0\n"
					}
					workload := func(kind, name string) string {
						return fmt.Sprintf("apiVersion: apps/v1\nkind: %s\nmetadata: {name: %s%d}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: %s%d:1}]}\n", kind, name, app, "acme.azurecr.io/shop/other", app)
					}
					files := map[string]string{
						"kustomization.yaml": resources, "deployment.yaml": workload("Deployment", "app"), "service.yaml": fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: app%d}\n", app),
						"configmap.yaml": fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app%d}\n", app),
					}
					if app == 0 {
						files["deployment.yaml"] = strings.Replace(files["deployment.yaml"], "acme.azurecr.io/shop/other0:1", image+":1.0.0", 1)
					}
					return files
				})
				b.StartTimer()
				edit, err := manifest.Plan(b.Context(), os.DirFS(root), "apps/team0/app0", manifest.Target{Image: judgedImage}, options)
				require.NoError(b, err)
				require.Len(b, edit.Changes, 1)
			}
		})
	}
}
