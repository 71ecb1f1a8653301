package adopt_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/adopt"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/render"
)

// rendered are the objects that an environment's manifests make, as KIND/NAME.
func rendered(t *testing.T, c *config.Config, env string) (names []string) {
	t.Helper()
	objects, err := render.Render(t.Context(), c.Abs(c.Environments[env].Manifests), render.Options{Namespace: "default"})
	require.NoError(t, err)
	for _, o := range objects {
		names = append(names, o.GetKind()+"/"+o.GetName())
	}
	slices.Sort(names)
	return names
}

const shop = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: front-settings, namespace: shop}
data: {CATALOG: "http://catalog:8080"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: front, namespace: shop}
spec:
  selector: {matchLabels: {app: front}}
  template:
    metadata: {labels: {app: front}}
    spec:
      containers: [{name: front, image: team/front, envFrom: [{configMapRef: {name: front-settings}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {selector: {app: front}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: public, namespace: shop}
spec: {defaultBackend: {service: {name: front, port: {number: 80}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: catalog, namespace: shop}
spec:
  selector: {matchLabels: {app: catalog}}
  template:
    metadata: {labels: {app: catalog}}
    spec:
      serviceAccountName: reader
      containers: [{name: catalog, image: team/catalog, env: [{name: DB, value: "postgres://db:5432/shop"}]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: shop}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: catalog-scale, namespace: shop}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: catalog}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: keep, namespace: shop}
spec: {minAvailable: 1, selector: {matchLabels: {app: catalog}}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: postgres}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: postgres, namespace: shop}
spec:
  serviceName: db
  selector: {matchLabels: {app: postgres}}
  template:
    metadata: {labels: {app: postgres}}
    spec:
      containers: [{name: postgres, image: "postgres:17", envFrom: [{secretRef: {name: db-password}}]}]
---
apiVersion: v1
kind: Secret
metadata: {name: db-password, namespace: shop}
stringData: {POSTGRES_PASSWORD: x}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody-in, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
`

// Each object of shared manifests goes with one service, and none is lost.
func TestNoObjectIsLost(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"front/Dockerfile": "FROM scratch\n", "catalog/Dockerfile": "FROM scratch\n", "k8s/all.yaml": shop,
	})
	assert.Equal(t, []string{
		"Deployment/catalog", "HorizontalPodAutoscaler/catalog-scale", "NetworkPolicy/nobody-in", "PodDisruptionBudget/keep",
		"Secret/db-password", "Service/db", "ServiceAccount/reader", "StatefulSet/postgres",
	}, rendered(t, configs["catalog"], "dev"))
	assert.Equal(t, []string{"ConfigMap/front-settings", "Deployment/front", "Ingress/public", "Service/front"}, rendered(t, configs["front"], "dev"))
	assert.Contains(t, strings.Join(p.Notices, "\n"), "StatefulSet/postgres in k8s: no image of it is built here, and it goes with catalog: deliver that first")

	_, configs = propose(t, adopt.Options{Name: "shop", Only: "front"}, map[string]string{
		"front/Dockerfile": "FROM scratch\n", "catalog/Dockerfile": "FROM scratch\n", "k8s/all.yaml": shop,
	})
	assert.Equal(t, []string{"ConfigMap/front-settings", "Deployment/front", "Ingress/public", "NetworkPolicy/nobody-in", "Service/front"}, rendered(t, configs["front"], "dev"),
		"what is another service's is left to it")
}

// Services of a Compose file find each other by the names that they have there, and share what they both need.
func TestComposeServicesFindEachOther(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "voting"}, map[string]string{
		"front/Dockerfile": "FROM scratch\nEXPOSE 80\n", "jobs/Dockerfile": "FROM scratch\nEXPOSE 81\n", "compose.yaml": `
services:
  web: {build: front, depends_on: [redis, worker]}
  worker: {build: jobs, depends_on: [redis, admin]}
  redis: {image: "redis:8", expose: ["6379"]}
  admin: {image: "adminer:5", expose: ["8080"], depends_on: [db]}
  db: {image: "postgres:17", expose: ["5432"]}
`,
	})
	assert.Equal(t, []string{"Deployment/front", "Deployment/redis", "Service/redis", "Service/web"}, rendered(t, configs["front"], "dev"))
	assert.Equal(t, []string{"Deployment/admin", "Deployment/db", "Deployment/jobs", "Service/admin", "Service/db", "Service/worker"}, rendered(t, configs["jobs"], "dev"))
	assert.Contains(t, strings.Join(p.Notices, "\n"), "jobs uses the redis that is delivered with front")
	for _, c := range configs {
		assert.Equal(t, "voting-dev", c.Environments["dev"].Namespace)
	}
}

// Each of several Dockerfiles in one directory has files of its own.
func TestDockerfilesInOneDirectory(t *testing.T) {
	files := map[string]string{
		"api/Dockerfile": "FROM scratch\n", "api/Dockerfile.worker": "FROM scratch\nCMD [\"worker\"]\n", "web/Dockerfile": "FROM scratch\n", "api/Dockerfile.builder": "FROM scratch\n",
	}
	p, configs := propose(t, adopt.Options{Name: "shop"}, files)
	assert.Equal(t, []string{"api/aksflow.yaml", "api/aksflow.api-worker.yaml", "web/aksflow.yaml"}, p.Configs)
	assert.Equal(t, []string{"Deployment/api", "Service/api"}, rendered(t, configs["api"], "dev"))
	assert.Equal(t, []string{"Deployment/api-worker", "Service/api-worker"}, rendered(t, configs["api-worker"], "dev"))
	assert.Equal(t, "Dockerfile.worker", configs["api-worker"].Build.Dockerfile)

	files["api/aksflow.yaml"] = "app: api\n"
	p, _ = propose(t, adopt.Options{Name: "shop"}, files)
	assert.Equal(t, []string{"api/aksflow.api-worker.yaml", "web/aksflow.yaml"}, p.Configs, "what is set up is the image of the Dockerfile")
}

func TestImagesOfWindowsAreLeftOut(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"api/Dockerfile": "FROM mcr.microsoft.com/dotnet/framework/aspnet:4.8-windowsservercore-ltsc2022 AS base\nFROM base\n",
		"web/Dockerfile": "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022 AS tools\nFROM scratch\n",
	})
	assert.Equal(t, []string{"aksflow.yaml"}, p.Configs)
	assert.Equal(t, "web", p.Services[0].Name)
	assert.Contains(t, p.Notices, "api/Dockerfile is for Windows: only images for Linux are delivered")
}

// Two objects of one name cannot be in one namespace.
func TestServicesOfOneNameAreApart(t *testing.T) {
	settings := "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"a/Dockerfile": "FROM scratch\n", "b/Dockerfile": "FROM scratch\n",
		"a/k8s/app.yaml": of(deployment, "a", "team/a") + settings, "b/k8s/app.yaml": of(deployment, "b", "team/b") + settings,
	})
	assert.Equal(t, "a-dev", configs["a"].Environments["dev"].Namespace)
	assert.Equal(t, "b-dev", configs["b"].Environments["dev"].Namespace)
	assert.Contains(t, strings.Join(p.Notices, "\n"), "a and b both have a ConfigMap/settings")
}

// Files of one directory may be alternatives that hold the same objects.
func TestObjectsThatAreThereTwice(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"api/Dockerfile": "FROM scratch\nEXPOSE 80\n", "web/Dockerfile": "FROM scratch\nEXPOSE 80\n",
		"all-in-one.yaml": of(deployment, "api", "team/api") + "---\n" + of(deployment, "web", "team/web"), "quickstart.yaml": of(deployment, "api", "team/api"),
		"default.yaml":    strings.ReplaceAll(of(deployment, "api", "team/api"), "{name: api}", "{name: api, namespace: default}"),
		"docs/k8s/d.yaml": of(deployment, "redis", "redis:8") + "---\n" + of(deployment, "redis", "redis:8"),
	})
	assert.Equal(t, []string{"Deployment/api"}, rendered(t, configs["api"], "dev"))
	assert.Equal(t, []string{"Deployment/web"}, rendered(t, configs["web"], "dev"))
	assert.Contains(t, p.Notices, "the top directory holds Deployment/api more than once, so that it cannot be deployed as it is, and the first of each is taken: the objects of api, web are proposed as copies")
}

// What is in a namespace of its own stays there, beside an object of the same name.
func TestCopiesInSeveralNamespaces(t *testing.T) {
	role := "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: api, namespace: NAMESPACE}\nrules: []\n"
	in := func(namespace string) string { return strings.ReplaceAll(role, "NAMESPACE", namespace) }
	_, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"api/Dockerfile": "FROM scratch\nEXPOSE 80\n", "web/Dockerfile": "FROM scratch\nEXPOSE 80\n",
		"k8s/api.yaml": strings.ReplaceAll(of(deployment, "api", "team/api")+of("---\n"+service, "api", ""), "{name: api}", "{name: api, namespace: shop}") + in("shop") + in("kube-system"),
		"k8s/web.yaml": of(deployment, "web", "team/web"), "k8s/again.yaml": strings.ReplaceAll(in(""), ", namespace: ", ""),
	})
	e := configs["api"].Environments["dev"]
	assert.Equal(t, []string{"kube-system"}, e.Namespaces)
	objects, err := render.Render(t.Context(), configs["api"].Abs(e.Manifests), render.Options{Namespace: "here"})
	require.NoError(t, err)
	var found []string
	for _, o := range objects {
		if o.GetKind() == "Role" {
			found = append(found, o.GetNamespace())
		}
	}
	slices.Sort(found)
	assert.Equal(t, []string{"", "kube-system"}, found)
}

// What no service builds goes with one of them, also where services take their objects from different directories.
func TestOthersGoWithOneService(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"api/Dockerfile": "FROM scratch\nEXPOSE 80\n", "web/Dockerfile": "FROM scratch\nEXPOSE 80\n",
		"k8s/kustomization.yaml": "resources: [api.yaml, redis.yaml, mail.yaml]\n", "k8s/api.yaml": of(deployment, "api", "team/api"), "k8s/redis.yaml": of(deployment, "redis", "redis:8"), "k8s/mail.yaml": of(deployment, "mail", "team/mail"),
		"all/all.yaml": of(deployment, "api", "team/api") + "---\n" + of(deployment, "web", "team/web") + "---\n" + of(deployment, "redis", "redis:8"), "mail/Dockerfile": "FROM scratch\nEXPOSE 80\n",
	})
	var with []string
	for name, c := range configs {
		if slices.Contains(rendered(t, c, "dev"), "Deployment/redis") {
			with = append(with, name)
		}
	}
	assert.Equal(t, []string{"api"}, with, "%q", p.Notices)
}

// A Service goes with the workload of others that it selects.
func TestServiceGoesWithWhatItSelects(t *testing.T) {
	asks := func(name, host string) string {
		return strings.ReplaceAll(of(deployment, name, "team/"+name), "image:", "env: [{name: QUEUE, value: \"amqp://"+host+"\"}], image:")
	}
	_, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"api/Dockerfile": "FROM scratch\nEXPOSE 80\n", "web/Dockerfile": "FROM scratch\nEXPOSE 80\n",
		"k8s/a.yaml": asks("api", "queue"), "k8s/w.yaml": asks("web", "queue"), "k8s/0.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plugins}\ndata: {a: web}\n",
		"k8s/q.yaml": strings.ReplaceAll(of(deployment, "queue", "rabbitmq:4"), "containers:", "volumes: [{name: p, configMap: {name: plugins}}]\n      containers:") + "---\n" + of(service, "queue", ""),
	})
	for name, c := range configs {
		objects := rendered(t, c, "dev")
		assert.Equal(t, slices.Contains(objects, "Deployment/queue"), slices.Contains(objects, "Service/queue"), "%s: %v", name, objects)
	}
}
