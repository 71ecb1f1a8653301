package adopt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/adopt"
	"github.com/aksflow/aksflow/internal/core/config"
)

// What something else fills in is applied as it stands, and said. The service's own image is not meant: a deployment sets it.
func TestValuesThatSomethingElseFillsIn(t *testing.T) {
	account := `---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: web
  annotations: {azure.workload.identity/client-id: "${CLIENT_ID}", tenant: "#{tenant}#", owner: "<your name>", build: __BUILD_ID__, plain: "a < b > c, $HOME"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {nginx.conf: "proxy_pass http://${BACKEND};"}
`
	files := map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", "k8s/app.yaml": of(deployment, "web", "<registry>.azurecr.io/web:1") + account}
	p, configs := propose(t, adopt.Options{Name: "web"}, files)
	assert.Contains(t, p.Notices, "k8s has ${CLIENT_ID}, __BUILD_ID__, <your name>, #{tenant}#, which something else fills in so far: aksflow applies the text as it stands; write the values, for each environment in an overlay if they differ")
	assert.Equal(t, "web", configs["web"].Image)

	files["k8s/app.yaml"] = of(deployment, "web", "web:1") + "---\n" + of(service, "web", "")
	p, _ = propose(t, adopt.Options{Name: "web"}, files)
	assert.NotContains(t, strings.Join(p.Notices, "\n"), "fills in")
}

// A placeholder where the registry stands is no part of the image's name, and has to go.
func TestImagesBehindPlaceholders(t *testing.T) {
	for reference, remedy := range map[string]string{
		"<registry>/web:1": "web", "#{acr}#/team/web:#{tag}#": "team/web", "$registry/web": "web", "${registry}-web": "web", "${REGISTRY}/web:1": "web", "__ACR__.azurecr.io/web:1": "",
	} {
		found, err := adopt.Find(write(t, map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", "k8s/app.yaml": of(deployment, "web", reference)}))
		require.NoError(t, err)
		p, err := found.Propose(t.Context(), adopt.Options{Name: "web", Registry: "r.example", Target: config.Push})
		require.NoError(t, err)
		require.Len(t, p.Files, 1, reference)
		if remedy == "" {
			assert.Empty(t, p.Notices, reference)
			continue
		}
		assert.Equal(t, remedy, p.Services[0].Image, reference)
		assert.Equal(t, []string{"k8s names the image of web as " + reference + ", and no deployment finds that: write " + remedy + " there"}, p.Notices)
	}
}

// Objects that name a namespace put all environments into it.
func TestEnvironmentsInOneNamespace(t *testing.T) {
	files := map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", "k8s/app.yaml": strings.ReplaceAll(of(deployment, "web", "web:1"), "{name: web}\n", "{name: web, namespace: shop}\n")}
	p, configs := propose(t, adopt.Options{Name: "web"}, files)
	assert.Equal(t, "shop", configs["web"].Environments["production"].Namespace)
	assert.Contains(t, p.Notices, "dev, production are all in the namespace shop, which the objects in k8s name: in one cluster they would be one and the same. Take the namespace out of the objects, and name one for each environment in aksflow.yaml")

	files["k8s/app.yaml"] = of(deployment, "web", "web:1")
	p, _ = propose(t, adopt.Options{Name: "web"}, files)
	assert.NotContains(t, strings.Join(p.Notices, "\n"), "namespace")
}

// A chart whose dependencies are fetched later is the app's all the same.
func TestChartWhoseDependenciesAreFetchedLater(t *testing.T) {
	files := map[string]string{
		"Dockerfile": "FROM scratch\nEXPOSE 80\n", "chart/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: redis, version: 1.0.0, repository: \"https://charts.example\"}]\n",
		"chart/templates/app.yaml": of(deployment, "web", "{{ .Values.image }}"), "chart/values.yaml": "image: team/web:1\n",
	}
	proposed := func() *adopt.Proposal {
		found, err := adopt.Find(write(t, files))
		require.NoError(t, err)
		p, err := found.Propose(t.Context(), adopt.Options{Name: "web", Registry: "r.example", Target: config.Push})
		require.NoError(t, err)
		return p
	}
	p := proposed()
	require.Len(t, p.Files, 1, "no manifests beside the chart")
	assert.Contains(t, p.Files[0].Content, "manifests: chart\n")
	assert.Equal(t, []string{"the chart chart needs redis, which is not below its charts directory: run `helm dependency build chart` and commit what it fetches, since nothing is fetched while delivering"}, p.Notices)

	files["chart/templates/app.yaml"] += "# {{ include \"redis.name\" . }}\n"
	assert.Contains(t, proposed().Notices, "the chart chart needs redis, which is not below its charts directory: run `helm dependency build chart`, and then init again")
}

// A chart may leave it to a value which image it runs.
func TestChartThatLeavesTheImageOpen(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "web"}, map[string]string{
		"Dockerfile": "FROM scratch\nEXPOSE 80\n", "chart/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"chart/templates/app.yaml": of(deployment, "web", "{{ .Values.image }}"), "chart/values.yaml": "image: \"\"\n",
	})
	assert.Equal(t, []string{"chart leaves the image of Deployment/web open. If that is built here, name the directory as manifests in an aksflow.yaml above it and the Dockerfile, and give the chart its name by values of each environment, as in values: {image: NAME}"}, p.Notices)
}
