package adopt_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/adopt"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/render"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {A: b}\n"

// No environment gets the overlay of another one.
func TestEnvironmentsWithoutAnOverlayAreLeftOut(t *testing.T) {
	base := map[string]string{"Dockerfile": "FROM postgres:17\nEXPOSE 5432\n", "k8s/base/kustomization.yaml": "resources: [cm.yaml]\n", "k8s/base/cm.yaml": configMap}
	const runs, idle = "resources: [../../base, db.yaml]\n", "resources: [../../base]\n"
	for name, test := range map[string]struct {
		overlays map[string]string
		want     map[string]string // environments and their overlays
		notice   string
	}{
		"production does not run the image": {
			map[string]string{"development": runs, "production": idle},
			map[string]string{"local": "development", "dev": "development"},
			"aksflow.yaml has no environment production: k8s/overlays/production does not run the image of db",
		},
		"production does not render": {
			map[string]string{"development": runs, "production": "resources: [https://example.com/x.yaml]\n"},
			map[string]string{"local": "development", "dev": "development"},
			"aksflow.yaml has no environment production: k8s/overlays/production does not render",
		},
		"no directory for dev": {
			map[string]string{"prod": runs},
			map[string]string{"local": "prod", "production": "prod"},
			"aksflow.yaml has no environment dev: no directory beside k8s/overlays/prod is named for it (dev, development, develop, test)",
		},
		"one directory for all": {
			map[string]string{"all": runs},
			map[string]string{"local": "all", "dev": "all", "production": "all"},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for name, content := range base {
				files[name] = content
			}
			for overlay, content := range test.overlays {
				files["k8s/overlays/"+overlay+"/kustomization.yaml"] = content
				files["k8s/overlays/"+overlay+"/db.yaml"] = of(deployment, "db", "db")
			}
			p, configs := propose(t, adopt.Options{Name: "db"}, files)
			got := map[string]string{}
			for _, e := range configs["db"].Environments {
				got[e.Name] = strings.TrimPrefix(e.Manifests, "k8s/overlays/")
			}
			assert.Equal(t, test.want, got)
			assert.Contains(t, strings.Join(p.Notices, "\n"), test.notice)
			assert.Equal(t, test.notice != "", strings.Contains(strings.Join(p.Notices, "\n"), "has no environment"))
		})
	}
}

// Each environment gets copies of its own overlay where the overlays hold several apps.
func TestSharedOverlaysAreSplitForEachEnvironment(t *testing.T) {
	files := map[string]string{"api/Dockerfile": "FROM nginx\n", "web/Dockerfile": "FROM nginx\n",
		"k8s/base/kustomization.yaml": "resources: [api.yaml, web.yaml]\n",
		"k8s/base/api.yaml":           of(deployment, "api", "api"), "k8s/base/web.yaml": of(deployment, "web", "web")}
	for overlay, replicas := range map[string]string{"dev": "1", "production": "7"} {
		files["k8s/"+overlay+"/kustomization.yaml"] = "resources: [../base]\nreplicas: [{name: api, count: " + replicas + "}]\n"
	}
	_, configs := propose(t, adopt.Options{Name: "shop"}, files)
	api := configs["api"]
	for env, want := range map[string]int64{"local": 1, "dev": 1, "production": 7} {
		objects, err := render.Render(t.Context(), api.Abs(api.Environments[env].Manifests), render.Options{Namespace: "default"})
		require.NoError(t, err)
		require.Len(t, objects, 1)
		assert.EqualValues(t, want, objects[0].Object["spec"].(map[string]any)["replicas"], env)
	}
}

// Manifests that run the image are used wherever they are.
func TestManifestsElsewhereAreUsed(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "mono", Target: config.Pull, Remote: "https://git.example/team/web.git"}, map[string]string{
		"src/shop/Dockerfile": "FROM nginx\nEXPOSE 80\n", "src/api/Dockerfile": "FROM nginx\nEXPOSE 80\n",
		"k8s/shop/kustomization.yaml": "resources: [d.yaml, cm.yaml]\n",
		"k8s/shop/d.yaml":             of(deployment, "shop", "team/shop:1"), "k8s/shop/cm.yaml": configMap,
	})
	assert.Equal(t, []string{"src/api/aksflow.yaml", "aksflow.shop.yaml"}, p.Configs)
	shop := configs["shop"]
	assert.Equal(t, "k8s/shop", shop.Environments["dev"].Manifests)
	assert.Equal(t, "src/shop", shop.Build.Context)
	assert.False(t, slices.ContainsFunc(p.Files, func(f adopt.File) bool { return strings.HasPrefix(f.Path, "src/shop/") }), "nothing is invented")
}

// A directory in which aksflow.yaml itself would stand cannot be deployed as it is.
func TestManifestsBesideTheDockerfile(t *testing.T) {
	for name, test := range map[string]struct{ dir, file, content, want string }{
		"plain":                            {"", "", "", "deploy"},
		"kustomization":                    {"", "kustomization.yaml", "resources: [d.yaml]\n", "."},
		"plain, of one of several":         {"src/web/", "", "", "deploy"},
		"kustomization, of one of several": {"src/web/", "kustomization.yaml", "resources: [d.yaml]\n", "."},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{test.dir + "Dockerfile": "FROM nginx\nEXPOSE 80\n", test.dir + "d.yaml": of(deployment, "web", "web")}
			if test.file != "" {
				files[test.dir+test.file] = test.content
			}
			if test.dir != "" {
				files["src/api/Dockerfile"] = "FROM nginx\nEXPOSE 80\n"
			}
			p, configs := propose(t, adopt.Options{Name: "web"}, files)
			assert.Equal(t, test.want, configs["web"].Environments["dev"].Manifests)
			assert.Equal(t, test.want == "deploy", strings.Contains(strings.Join(p.Notices, "\n"), "proposed as copies"))
		})
	}
}

// A service is named after what says most of it.
func TestNamesOfGenericDirectories(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	for file, want := range map[string]string{
		"src/web/Dockerfile": "web", "app/server/Dockerfile": "server", "src/backend/docker/Dockerfile": "backend", "src/docker/Dockerfile": "shop",
		"src/cart/src/Dockerfile": "cart", "docker/controller.Dockerfile": "controller", "backend/Dockerfile": "backend",
		"src/docker/build/Dockerfile": "mailer", "source/code/Dockerfile": "shop",
	} {
		t.Run(file, func(t *testing.T) {
			p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{file: dockerfile, "src/api/Dockerfile": dockerfile,
				"compose.yaml": "services: {mailer: {build: src/docker/build}}\n", "k8s/kustomization.yaml": "resources: [d.yaml]\n",
				"k8s/d.yaml": of(deployment, want, "team/"+want+":1")})
			i := slices.IndexFunc(p.Services, func(s *adopt.Service) bool { return s.Name == want })
			require.GreaterOrEqual(t, i, 0, "%v", p.Configs)
			require.Len(t, p.Services[i].Manifests, 1)
		})
	}
}

// A service of the repository's name is found by the image of its directory's name, too.
func TestDirectoryFitsAnImage(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{"src/web/Dockerfile": "FROM nginx\nEXPOSE 80\n",
		"k8s/kustomization.yaml": "resources: [d.yaml]\n", "k8s/d.yaml": of(deployment, "web", "team/web:1")})
	assert.Equal(t, "k8s", configs["shop"].Environments["dev"].Manifests)
	assert.Equal(t, "team/web", configs["shop"].Image)
	assert.Empty(t, p.Notices)
}

// An object is built here if one of its images is.
func TestObjectsWithOneImageThatIsBuiltHere(t *testing.T) {
	withInit := func(name string) string {
		return of(deployment, name, name+":1") + "      initContainers: [{name: wait, image: \"busybox:1\"}]\n"
	}
	p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{"src/api/Dockerfile": "FROM nginx:1\n", "src/shop/Dockerfile": "FROM nginx:1\n",
		"k8s/kustomization.yaml": "resources: [api.yaml, shop.yaml, redis.yaml]\n",
		"k8s/api.yaml":           withInit("api"), "k8s/shop.yaml": withInit("shop"), "k8s/redis.yaml": of(deployment, "redis", "redis:8")})
	assert.Contains(t, p.Notices, "Deployment/redis in k8s: no image of it is built here, and it goes with api: deliver that first")
	assert.Contains(t, p.Notices, "k8s holds more than one app, and aksflow delivers each by itself: the objects of api, shop are proposed as copies")
}

// What is said of a directory with other files is true of it, and names the user's files, each warning once.
func TestDirectoryWithOtherFiles(t *testing.T) {
	twice := strings.Replace(of(deployment, "web", "web:1"), "spec:\n  selector", "spec:\n  replicas: 1\n  replicas: 2\n  selector", 1)
	var warnings []string
	ctx := report.With(t.Context(), report.SinkFunc(func(e report.Event) { warnings = append(warnings, e.Message) }))
	p := proposeIn(ctx, t, map[string]string{"Dockerfile": "FROM nginx:1\nEXPOSE 80\n", "k8s/d.yaml": twice, "k8s/values-db.yaml": "a: 1\n",
		"z/web.yaml": of(deployment, "web", "web"), "z/x/d.yaml": twice}) // z/x is rendered by itself, and as a part of z
	assert.Contains(t, p.Notices, "k8s also holds YAML files that are not manifests, so that it cannot be deployed as it is: the objects of web are proposed as copies")
	require.Len(t, warnings, 2, "%q", warnings)
	assert.Regexp(t, `/k8s/d.yaml:6: the key "replicas"`, warnings[0])
	assert.NotContains(t, warnings[0], "aksflow-init")
	assert.Regexp(t, `/z/x/d.yaml:6: the key "replicas"`, warnings[1])
}

func proposeIn(ctx context.Context, t *testing.T, files map[string]string) *adopt.Proposal {
	t.Helper()
	found, err := adopt.Find(write(t, files))
	require.NoError(t, err)
	p, err := found.Propose(ctx, adopt.Options{Name: "web", Registry: "myregistry.azurecr.io", Target: config.Push})
	require.NoError(t, err)
	return p
}

// Two services never get one directory for their manifests.
func TestDirectoriesAreDistinct(t *testing.T) {
	content, _ := contents(t, "deploy", map[string]string{
		"go.mod": "", "deploy/Dockerfile": "FROM scratch\nCOPY go.mod .\nEXPOSE 80\n", "deploy/Dockerfile.worker": "FROM scratch\nEXPOSE 81\n",
	})
	assert.Contains(t, content, "deploy/deploy/deploy.yaml")
	assert.Contains(t, content, "deploy/deploy-aksflow/worker.yaml")
}

// Examples are deployed only where there is nothing else, and what is for tests or documentation never is. Nothing is said of those
// that cannot be rendered.
func TestManifestsOfExamples(t *testing.T) {
	files := map[string]string{
		"Dockerfile": "FROM scratch\nEXPOSE 80\n", "examples/k/kustomization.yaml": "resources: [d.yaml]\n", "examples/k/d.yaml": of(deployment, "web", "web"),
		"test/broken/kustomization.yaml": "resources: [gone.yaml]\n", "testdata2/redis/d.yaml": of(deployment, "redis", "redis:8"),
		"manifests/d.yaml": of(deployment, "web", "web"),
	}
	p, configs := propose(t, adopt.Options{Name: "web"}, files)
	assert.Equal(t, "manifests", configs["web"].Environments["dev"].Manifests)
	assert.Empty(t, p.Notices)
	delete(files, "manifests/d.yaml")
	files["docs/reference/d.yaml"], files["integration/fixtures/d.yaml"] = of(deployment, "web", "web"), of(deployment, "web", "web")
	_, configs = propose(t, adopt.Options{Name: "web"}, files)
	assert.Equal(t, "examples/k", configs["web"].Environments["dev"].Manifests)
}

// What tests need is nothing that is deployed.
func TestComposeFilesOfTests(t *testing.T) {
	for file, want := range map[string]bool{
		"compose.dev.yaml": true, "contest/compose.yaml": true,
		"e2e/compose.yaml": false, "tests/docker-compose-cloud.yml": false, "docker-compose.integration.yml": false, "docker-compose-ci.yml": false,
	} {
		context := map[bool]string{true: "..", false: "."}[strings.Contains(file, "/")]
		content, _ := contents(t, "web", map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", file: "services: {web: {build: " + context + ", depends_on: [redis]}, redis: {image: redis}}\n"})
		_, found := content["deploy/redis.yaml"]
		assert.Equal(t, want, found, file)
	}
}

// A chart has its values for each environment in files that are named for it.
func TestValuesOfEnvironments(t *testing.T) {
	chart := map[string]string{
		"Dockerfile": "FROM scratch\nEXPOSE 80\n", "charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n", "charts/web/values.yaml": "replicas: 1\n",
		"charts/web/templates/d.yaml": strings.Replace(of(deployment, "web", "team/web:1"), "spec:\n", "spec:\n  replicas: {{ .Values.replicas }}\n", 1),
		"charts/web/values-prod.yaml": "replicas: 7\n", "charts/web/values/dev.yml": "replicas: 2\n",
	}
	p, configs := propose(t, adopt.Options{Name: "web"}, chart)
	c := configs["web"]
	assert.Equal(t, []string{"charts/web/values-prod.yaml"}, c.Environments["production"].ValuesFiles)
	assert.Equal(t, []string{"charts/web/values/dev.yml"}, c.Environments["dev"].ValuesFiles)
	assert.Empty(t, p.Notices)
}

// Which of several directories is taken is said, unless they are those of environments.
func TestAlternativeManifests(t *testing.T) {
	files := map[string]string{
		"Dockerfile": "FROM scratch\nEXPOSE 80\n", "k8s/a/kustomization.yaml": "resources: [d.yaml]\n", "k8s/a/d.yaml": of(deployment, "web", "web"),
		"k8s/b/kustomization.yaml": "resources: [d.yaml]\n", "k8s/b/d.yaml": of(deployment, "web", "web"),
	}
	p, _ := propose(t, adopt.Options{Name: "web"}, files)
	assert.Equal(t, []string{"the image of web also runs in k8s/b: k8s/a is taken; name another one as manifests in its aksflow.yaml if that is the one to deploy"}, p.Notices)
}
