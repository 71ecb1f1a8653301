package adopt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/adopt"
)

// namesOf are the proposed services by their Dockerfiles, and the notices.
func namesOf(t *testing.T, files map[string]string) (names map[string]string, notices string) {
	t.Helper()
	p, _ := propose(t, adopt.Options{Name: "shop"}, files)
	names = map[string]string{}
	for _, s := range p.Services {
		names[strings.TrimPrefix(s.Context+"/"+s.Dockerfile, "./")] = s.Name
	}
	return names, strings.Join(p.Notices, "\n")
}

// A template of a Dockerfile, a copy and a program that reads Dockerfiles are no Dockerfiles.
func TestFilesThatAreDockerfiles(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	files := map[string]string{}
	for _, name := range []string{"Dockerfile", "Dockerfile-jobs", "Dockerfile_mail", "Dockerfile.v2", "Containerfile.web", "Dockerfile.go", "cron.containerfile", "low/dockerfile"} {
		files[name] = dockerfile
	}
	for _, name := range []string{"Dockerfile.j2", "Dockerfile.tmpl", "Dockerfile.in", "Dockerfile.bak", "Dockerfile~", "Dockerfile.md", "dockerfile.py", "Dockerfile.dockerignore", "x.Dockerfile.template"} {
		files[name] = dockerfile
	}
	names, _ := namesOf(t, files)
	assert.Equal(t, map[string]string{
		"Dockerfile": "shop", "Dockerfile-jobs": "shop-jobs", "Dockerfile_mail": "shop-mail", "Dockerfile.v2": "shop-v2", "Containerfile.web": "shop-web", "Dockerfile.go": "shop-go",
		"cron.containerfile": "shop-cron", "low/dockerfile": "low",
	}, names)
}

// An app that has the name of a base image would replace that image where manifests use it.
func TestNamesAreNotThoseOfBaseImages(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	names, notices := namesOf(t, map[string]string{
		"docker/Dockerfile.alpine": dockerfile, "docker/Dockerfile.debian12": dockerfile, "docker/Dockerfile.worker": dockerfile,
		"web/Dockerfile": dockerfile, "web/Dockerfile-fpm": dockerfile, "build/Dockerfile": dockerfile,
	})
	assert.Equal(t, map[string]string{
		"docker/Dockerfile.alpine": "shop-alpine", "docker/Dockerfile.worker": "worker", "web/Dockerfile": "web", "build/Dockerfile": "shop",
	}, names)
	assert.Contains(t, notices, "docker/Dockerfile.debian12 is not delivered: it seems to make another form of the image of docker/Dockerfile.alpine; --app shop-debian12 sets it up")
	assert.Contains(t, notices, "web/Dockerfile-fpm is not delivered")
}

// Dockerfiles for tests and for development are not delivered, whatever the word for that is.
func TestHelpersAreLeftOut(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	files := map[string]string{"Dockerfile": dockerfile}
	for _, name := range []string{"Dockerfile.develop", "Dockerfile-dev", "Dockerfile.tests", "tests.Dockerfile", "Dockerfile.development", "playwright/Dockerfile", "ui-tests/Dockerfile", "load-gen/Dockerfile"} {
		files[name] = dockerfile
	}
	names, _ := namesOf(t, files)
	assert.Equal(t, map[string]string{"Dockerfile": "shop"}, names)
}

// Services whose directories have one name are called as in the Compose file.
func TestComposeTellsServicesApart(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	names, _ := namesOf(t, map[string]string{"web/gateway/Dockerfile": dockerfile, "mobile/gateway/Dockerfile": dockerfile,
		"compose.yaml": "services: {webgw: {build: web/gateway}, mobilegw: {build: mobile/gateway}}\n"})
	assert.Equal(t, map[string]string{"web/gateway/Dockerfile": "webgw", "mobile/gateway/Dockerfile": "mobilegw"}, names)
}

// The build context is the nearest directory that has what is copied.
func TestContextBetween(t *testing.T) {
	names, _ := namesOf(t, map[string]string{"src/services/cart/Dockerfile": "FROM scratch\nCOPY services/cart/cart.sln .\nEXPOSE 80\n", "src/services/cart/cart.sln": "", "src/services/mail/Dockerfile": "FROM scratch\nEXPOSE 80\n"})
	assert.Equal(t, map[string]string{"src/services/cart/Dockerfile": "cart", "src/services/mail/Dockerfile": "mail"}, names)
	_, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{"src/services/cart/Dockerfile": "FROM scratch\nCOPY services/cart/cart.sln .\n", "src/services/cart/cart.sln": ""})
	for _, c := range configs {
		assert.Equal(t, "src", c.Build.Context)
		assert.Equal(t, "services/cart/Dockerfile", c.Build.Dockerfile)
	}
}

// A name that says more than the image's is that of the image all the same.
func TestNamesThatSayMoreThanTheImage(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	p, _ := propose(t, adopt.Options{Name: "samples"}, map[string]string{
		"tutorials/sums/node/Dockerfile": dockerfile, "tutorials/mail/node/Dockerfile": dockerfile, "k8s/d.yaml": of(deployment, "add", "team/sums-node"),
	})
	require.Equal(t, "tutorials-sums-node", p.Services[1].Name)
	assert.Equal(t, "team/sums-node", p.Services[1].Image)
	assert.Empty(t, p.Services[0].Manifests)
}

// A wildcard says where files are copied from, unless it fits nothing anywhere or stands for a file that need not be there.
func TestContextOfWildcards(t *testing.T) {
	for copied, want := range map[string]string{"*.sln": ".", "target/*.jar": "web", "package.json yarn.lock*": "web", "package*.json": "web"} {
		_, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{"web/Dockerfile": "FROM scratch\nCOPY " + copied + " ./\nEXPOSE 80\n", "web/package.json": "{}", "shop.sln": "", "package.json": "{}", "yarn.lock": ""})
		for _, c := range configs {
			assert.Equal(t, want == ".", c.Build.Dockerfile == "web/Dockerfile", "%s: %+v", copied, c.Build)
		}
	}
}

// Dockerfiles that hold a tool for developers, or only the version of one, are not delivered.
func TestToolsAreLeftOut(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	files := map[string]string{"Dockerfile": dockerfile, "tools/Dockerfile": dockerfile, "services/lint-api/Dockerfile": dockerfile, "Dockerfile.mail": dockerfile}
	for _, name := range []string{
		"Dockerfile.golangci-lint", "dockerfiles/lint.Dockerfile", "Dockerfile.ui.tilt", "hack/docs/Dockerfile", "integration/Dockerfile", "integration-tests/Dockerfile",
		"samples/web/Dockerfile", "testdata2/a/Dockerfile", "Dockerfile-vendor", "web/Dockerfile.playwright", "api/genproto/Dockerfile",
	} {
		files[name] = dockerfile
	}
	files["Dockerfile.zizmor"] = "ARG V=1\nFROM ghcr.io/zizmorcore/zizmor:$V\n"
	names, notices := namesOf(t, files)
	assert.Equal(t, map[string]string{"Dockerfile": "shop", "tools/Dockerfile": "tools", "services/lint-api/Dockerfile": "lint-api", "Dockerfile.mail": "shop-mail"}, names)
	assert.Contains(t, notices, "Dockerfile.zizmor is not delivered: it names an image and adds nothing to it; --app shop-zizmor sets it up")
}

// Directories with the names of base images or processors hold forms of one image, which no manifest calls so.
func TestFormsInDirectories(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	names, notices := namesOf(t, map[string]string{
		"packaging/docker/alpine/Dockerfile": dockerfile, "packaging/docker/ubuntu-24.04/Dockerfile": dockerfile, "packaging/docker/sidecar/Dockerfile": dockerfile,
		"deploy/Dockerfile": dockerfile, "deploy/Dockerfile.ppc64le": dockerfile, "api/debian/Dockerfile": dockerfile, "agent/Dockerfile": dockerfile, "agent/arm64/Dockerfile": dockerfile,
	})
	assert.Equal(t, map[string]string{
		"packaging/docker/alpine/Dockerfile": "shop-alpine", "packaging/docker/sidecar/Dockerfile": "sidecar", "deploy/Dockerfile": "shop", "api/debian/Dockerfile": "api-debian", "agent/Dockerfile": "agent",
	}, names)
	for _, want := range []string{
		"packaging/docker/ubuntu-24.04/Dockerfile is not delivered: it seems to make another form of the image of packaging/docker/alpine/Dockerfile; --app shop-ubuntu-24-04 sets it up",
		"deploy/Dockerfile.ppc64le is not delivered", "agent/arm64/Dockerfile is not delivered",
	} {
		assert.Contains(t, notices, want)
	}
}

// Beside a Dockerfile for production, the one without a further name is for development. Both are of one app.
func TestDockerfilesForProduction(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	files := map[string]string{
		"web/Dockerfile": dockerfile, "web/Dockerfile.prod": "FROM scratch\nEXPOSE 81\n", "api/production.Dockerfile": dockerfile, "mail/Dockerfile": dockerfile, "mail/Dockerfile.production": dockerfile,
		"compose.yaml": "services: {web: {build: web, depends_on: [redis]}, redis: {image: redis}}\n",
		"azure.yaml":   "services: {mail: {project: mail, host: aks}}\n",
	}
	names, notices := namesOf(t, files)
	assert.Equal(t, map[string]string{"web/Dockerfile.prod": "web", "api/production.Dockerfile": "api", "mail/Dockerfile": "mail"}, names)
	assert.Contains(t, notices, "mail/Dockerfile.production is not delivered: it seems to make another form of the image of mail/Dockerfile; --app mail-production sets it up", "azure.yaml says which one is delivered")
	assert.Contains(t, notices, "web/Dockerfile is not delivered: web/Dockerfile.prod beside it is for production; --app web-dev sets it up")
	content, _ := contents(t, "shop", files)
	assert.Contains(t, content, "web/deploy/redis.yaml", "the Compose file is about the same app")
}

// Directories that hold all apps say nothing about one, and a file may be copied in the form of JSON.
func TestAppsOfMonorepos(t *testing.T) {
	names, _ := namesOf(t, map[string]string{
		"apps/web/Dockerfile": "FROM scratch\nCOPY [\"package.json\", \"./\"]\nEXPOSE 80\n", "apps/api/Dockerfile": "FROM scratch\nADD package.json ./\nEXPOSE 80\n", "services/app/Dockerfile": "FROM scratch\nEXPOSE 80\n",
		"package.json": "{}",
	})
	assert.Equal(t, map[string]string{"apps/web/Dockerfile": "web", "apps/api/Dockerfile": "api", "services/app/Dockerfile": "app"}, names)
	_, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{"apps/web/Dockerfile": "FROM scratch\nCOPY [\"package.json\", \"./\"]\n", "package.json": "{}"})
	assert.Equal(t, ".", configs["shop"].Build.Context)
}
