package adopt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

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
