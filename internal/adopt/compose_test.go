package adopt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/adopt"
)

// contents are the proposed files below a directory, by their names, and the notices.
func contents(t *testing.T, name string, files map[string]string) (content map[string]string, notices string) {
	t.Helper()
	p, _ := propose(t, adopt.Options{Name: name}, files)
	content = map[string]string{}
	for _, f := range p.Files {
		assert.NotContains(t, content, f.Path, "each file is written once")
		content[f.Path] = f.Content
	}
	return content, strings.Join(p.Notices, "\n")
}

// Compose takes compose.yaml and its override file; files for tests say less.
func TestComposeFilesAreReadAsComposeDoes(t *testing.T) {
	content, _ := contents(t, "shop", map[string]string{
		"Dockerfile":                  "FROM scratch\n",
		"docker-compose-tests.yml":    "services: {web: {build: ., ports: ['1:1'], depends_on: [db-test]}, db-test: {image: 'postgres:17'}}\n",
		"docker-compose.yml":          "services: {web: {build: ., depends_on: [db]}, db: {image: 'postgres:17'}}\n",
		"docker-compose.override.yml": "services: {web: {ports: ['9000:81'], environment: [GREETING=hello]}, db: {environment: {POSTGRES_DB: shop}}}\n",
	})
	assert.Contains(t, content["deploy/shop.yaml"], "containerPort: 81\n")
	assert.Contains(t, content["deploy/shop.yaml"], `{name: GREETING, value: "hello"}`)
	assert.Contains(t, content["deploy/db.yaml"], `{name: POSTGRES_DB, value: "shop"}`)
	assert.NotContains(t, content, "deploy/db-test.yaml")
}

// Of several services with one image, the one that is reachable from outside is the app.
func TestComposeServicesOfOneImage(t *testing.T) {
	content, notices := contents(t, "shop", map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", "compose.yaml": `
x-app: &app
  build: .
  environment: &env {MODE: production}
  depends_on: [redis]
services:
  beat: {<<: *app, command: run beat}
  server: {<<: *app, ports: ["80:80"], environment: *env}
  worker: {extends: {service: beat}, command: run worker}
  redis: {image: "redis:8"}
`})
	assert.Contains(t, content["deploy/shop.yaml"], "name: server\n", "others find it by its name in the Compose file")
	assert.Contains(t, content["deploy/shop.yaml"], `{name: MODE, value: "production"}`)
	assert.Contains(t, content["deploy/redis.yaml"], "port: 6379")
	assert.Contains(t, notices, "compose.yaml also runs the image of shop as beat, worker: no Deployment of that is proposed")
}

// Values of a Compose file come from .env or are defaults. What has none is left out, and said.
func TestVariablesOfComposeFiles(t *testing.T) {
	content, notices := contents(t, "shop", map[string]string{
		"web/Dockerfile": "FROM scratch\n", "web/.env": "PORT=1\n", ".env": "# of Compose\nCODE=web\nexport REDIS=\"8.2\"\n",
		"compose.yaml": `
services:
  front:
    build: {context: "./${CODE}"}
    ports: ["${PORT:-8000}:${INSIDE:-81}", "53:53/udp"]
    environment: {LEVEL: "${LEVEL:-info}", HOST: "${HOST}", PRICE: "5$$", TOKEN: "${TOKEN}", DSN: "mysql://me:secret@db/shop"}
    env_file: [{path: web/.env}]
    links: ["redis:cache", queue]
  redis: {image: "${REGISTRY:-docker.io}/library/redis:${REDIS}"}
  queue: {image: "${QUEUE}/rabbitmq"}
`,
	})
	app := content["deploy/shop.yaml"]
	assert.Contains(t, app, "containerPort: 81\n")
	assert.Contains(t, app, `{name: LEVEL, value: "info"}`)
	assert.Contains(t, app, `{name: PRICE, value: "5$"}`)
	assert.NotContains(t, app, "secret")
	assert.NotContains(t, app, "53")
	assert.Contains(t, content["deploy/redis.yaml"], "image: docker.io/library/redis:8.2\n")
	assert.Contains(t, notices, "shop gets no DSN, TOKEN: put it into a Secret, and name that in deploy/shop.yaml")
	assert.Contains(t, notices, "shop gets no HOST: compose.yaml takes the value from elsewhere; write it into deploy/shop.yaml")
	assert.Contains(t, notices, "shop takes variables from web/.env in compose.yaml")
	assert.Contains(t, notices, "the service queue of compose.yaml is needed by shop and is not proposed: its image ${QUEUE}/rabbitmq has variables without a value")
}

// Containers of a Compose file reach each other's ports whether it names them or not.
func TestBackingServicesOfComposeFiles(t *testing.T) {
	content, notices := contents(t, "shop", map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", "db/init.sql": "", "compose.yaml": `
services:
  web: {build: ., depends_on: [shop, sql, queue, store, job]}
  shop: {image: "postgres:17", volumes: ["data:/var/lib/postgresql/data", "./db/init.sql:/docker-entrypoint-initdb.d/init.sql:ro"]}
  sql: {image: "mcr.microsoft.com/mssql/server:2022-latest"}
  queue: {image: "rabbitmq:4", ports: ["15672:15672"]}
  store: {image: "minio/minio", entrypoint: ["/usr/bin/minio"], command: server --address ":9000" '/my data'}
  job: {image: "team/job:1"}
volumes: {data: {}}
`})
	assert.Contains(t, content["deploy/shop.yaml"], "image: shop\n")
	assert.Contains(t, content["deploy/shop-2.yaml"], "image: postgres:17\n")
	assert.Contains(t, content["deploy/shop-2.yaml"], "kind: Service\nmetadata:\n  name: shop\n", "others find it by its name in the Compose file")
	assert.Contains(t, content["deploy/sql.yaml"], "port: 1433")
	assert.Contains(t, content["deploy/queue.yaml"], "tcpSocket: {port: 5672}")
	assert.Contains(t, content["deploy/queue.yaml"], "  - {name: port-5672, port: 5672}\n  - {name: port-15672, port: 15672}\n")
	assert.Contains(t, content["deploy/store.yaml"], "command: [\"/usr/bin/minio\"]\n        args: [\"server\", \"--address\", \":9000\", \"/my data\"]\n")
	assert.NotContains(t, content["deploy/job.yaml"], "kind: Service")
	assert.Contains(t, notices, "compose.yaml names no port of job, and no Service is proposed")
	assert.Contains(t, notices, "shop-2 has a volume in compose.yaml at /var/lib/postgresql/data, and none in deploy/shop-2.yaml")
	assert.Contains(t, notices, "shop-2 has db/init.sql in its container in compose.yaml")
}

// What a Compose file has in a form that is not known hides nothing else of it.
func TestComposeFileThatIsReadInPart(t *testing.T) {
	content, notices := contents(t, "shop", map[string]string{"Dockerfile": "FROM scratch\n", "compose.yaml": `
services:
  web: {build: ., expose: 81, ports: [{target: 82, published: "80"}], depends_on: [redis]}
  redis: {extends: redis, image: "redis:8", profiles: tools}
`, "broken/compose.yaml": "services:\n\tweb: {}\n"})
	require.Contains(t, content, "deploy/redis.yaml")
	assert.Contains(t, content["deploy/shop.yaml"], "containerPort: 82\n")
	assert.Contains(t, notices, "compose.yaml is read in part")
	assert.Contains(t, notices, "broken/compose.yaml cannot be read")
}

// The image that a Compose file builds is the one that manifests run, under whichever registry.
func TestComposeNamesTheImage(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"db/Dockerfile": "FROM postgres:17\n", "web/Dockerfile": "FROM scratch\n",
		"compose.yaml":   "services: {catalog: {build: db, image: '${REPO}/shop.catalog-store:${TAG:-latest}'}, web: {build: web}}\n",
		"k8s/store.yaml": of(deployment, "store", "team/shop.catalog-store:1"),
	})
	assert.Equal(t, "team/shop.catalog-store", configs["db"].Image)
	assert.Equal(t, "k8s", p.Services[0].Manifests[0].Path)
}

// Names of hosts that the cluster will not have are said where they stand.
func TestHostsOfComposeFiles(t *testing.T) {
	content, notices := contents(t, "shop", map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", "compose.yaml": `
services:
  web:
    build: .
    links: ["my_cache:cache"]
    depends_on: [db, queue]
    environment: {DB: "mysql://store:3306/db", QUEUE: "amqp://mq", CACHE: "cache:6379", SELF: "http://db", DB_USER: store, STORE_HOST: db}
  my_cache: {image: "redis:8"}
  db: {image: "mysql:9", container_name: store, hostname: db}
  queue: {image: "rabbitmq:4", networks: {back: {aliases: [mq, db]}, front: }}
`})
	assert.Contains(t, content["deploy/my-cache.yaml"], "kind: Service\nmetadata:\n  name: my-cache\n")
	for _, want := range []string{
		"my-cache is reached as my_cache in compose.yaml, which cannot be the name of a Service: in deploy/my-cache.yaml it is my-cache; write that where its host is named",
		"CACHE of shop names the host cache, which is my_cache in compose.yaml: its Service is called my-cache; write that into deploy/shop.yaml",
		"DB of shop names the host store, which is db in compose.yaml: its Service is called db; write that into deploy/shop.yaml",
		"QUEUE of shop names the host mq, which is queue in compose.yaml: its Service is called queue; write that into deploy/shop.yaml",
	} {
		assert.Contains(t, notices, want)
	}
	assert.Equal(t, 3, strings.Count(notices, "names the host"), notices)
}

// Variables have the forms that Compose knows.
func TestFormsOfVariables(t *testing.T) {
	content, notices := contents(t, "shop", map[string]string{
		"Dockerfile": "FROM scratch\nEXPOSE 80\n", ".env": "REDIS=redis\nEMPTY=\nTLS=1\n",
		"compose.yaml": `
services:
  web: {build: ., depends_on: [one, two, three, four, five, six]}
  one: {image: "${REDIS?is not set}:${TAG:-${EMPTY:-8}}-a"}
  two: {image: "$REDIS:2${TLS:+-tls}${EMPTY}"}
  three: {image: "${NONE:?is not set}"}
  four: {image: "redis:${TAG:-${NONE}}"}
  five: {image: "redis${EMPTY:?}"}
  six: {image: "${REDIS:?is not set}:6${EMPTY-x}"}
`})
	assert.Contains(t, content["deploy/one.yaml"], "image: redis:8-a\n")
	assert.Contains(t, content["deploy/two.yaml"], "image: redis:2-tls\n")
	assert.Contains(t, content["deploy/six.yaml"], "image: redis:6\n")
	for _, unknown := range []string{"three", "four", "five"} {
		assert.NotContains(t, content, "deploy/"+unknown+".yaml")
		assert.Contains(t, notices, "the service "+unknown+" of compose.yaml is needed by shop and is not proposed")
	}
}

// A name that YAML reads as a number stays a name, and a Service's begins with a letter.
func TestNamesThatAreNumbers(t *testing.T) {
	content, notices := contents(t, "2048", map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n"})
	assert.Contains(t, content["aksflow.yaml"], "app: \"2048\"\n")
	assert.Contains(t, content["deploy/2048.yaml"], "metadata:\n  name: \"2048\"\n")
	assert.Contains(t, content["deploy/2048.yaml"], "image: \"2048\"\n")
	assert.Contains(t, content["deploy/2048.yaml"], "kind: Service\nmetadata:\n  name: app-2048\n")
	assert.Empty(t, notices)

	content, _ = contents(t, "shop", map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", "compose.yaml": "services: {on: {build: ., depends_on: ['1']}, '1': {image: 'redis:8'}}\n"})
	assert.Contains(t, content["deploy/shop.yaml"], "kind: Service\nmetadata:\n  name: \"on\"\n")
	assert.Contains(t, content["deploy/1.yaml"], "metadata:\n  name: \"1\"\n")
}

// A Compose file that runs the image as it is published says what the app needs.
func TestComposeFileOfThePublishedImage(t *testing.T) {
	files := map[string]string{
		"Dockerfile":                 "FROM scratch\n",
		"cypress/docker-compose.yml": "services: {shop: {build: .., ports: ['1:1'], depends_on: [fake]}, fake: {image: 'redis:8'}}\n",
		"docker-compose.yml":         "services: {shop: {image: 'ghcr.io/team/shop:latest', ports: ['3000:3000'], depends_on: [db]}, db: {image: 'postgres:17'}}\n",
	}
	content, _ := contents(t, "shop", files)
	assert.Contains(t, content["deploy/shop.yaml"], "containerPort: 3000\n")
	assert.Contains(t, content["deploy/shop.yaml"], "image: shop\n")
	assert.Contains(t, content, "deploy/db.yaml")
	assert.NotContains(t, content, "deploy/fake.yaml")
}

// What is for a developer's machine is not written for every environment.
func TestVariablesForDevelopers(t *testing.T) {
	content, notices := contents(t, "shop", map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", "compose.yaml": "services: {web: {build: ., environment: {MODE: development, URL: 'http://localhost:80', LEVEL: info, VALKEY_ADDR: 'v:1', TOKEN_EXPIRE_MINUTES: 5, API_KEY: x}}}\n"})
	assert.Contains(t, content["deploy/shop.yaml"], `{name: LEVEL, value: "info"}`)
	assert.NotContains(t, content["deploy/shop.yaml"], "development")
	assert.Contains(t, content["deploy/shop.yaml"], "{name: TOKEN_EXPIRE_MINUTES, value: \"5\"}\n        - {name: VALKEY_ADDR")
	assert.Contains(t, notices, "shop gets no API_KEY: put it into a Secret, and name that in deploy/shop.yaml")
	assert.Contains(t, notices, "shop gets no MODE=development, URL=http://localhost:80, which is for a developer's machine: write the value for the cluster into deploy/shop.yaml, if it needs one")
}
