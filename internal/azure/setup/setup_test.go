package setup_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/azure/setup"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
)

const (
	pushToAKS = "{registry: reg.azurecr.io, manifests: k8s, namespace: vote-dev, namespaces: [jobs], cluster: {aks: {subscription: s-1, resourceGroup: clusters, name: aks-dev}}, branches: [develop, 'release/*']}"
	pullOnly  = "{target: pull, registry: reg-h4sh.azurecr.io/team, manifests: k8s, namespace: prod, gitops: {repo: 'https://git.example/o/r.git'}}"
)

// options are for an aksflow.yaml with these environments.
func options(t *testing.T, environments ...string) setup.Options {
	t.Helper()
	c, err := config.Parse("aksflow.yaml", []byte("app: vote\nenvironments:\n  "+strings.Join(environments, "\n  ")+"\n"))
	require.NoError(t, err)
	return setup.Options{
		Config: c, Lookup: func(string) (string, bool) { return "", false }, Repository: "o/r", Trust: []string{setup.TrustEnvironment}, PullRequests: true,
		Subscription: "s-1",
	}
}

func files(t *testing.T, o setup.Options) map[string]string {
	t.Helper()
	p, err := setup.Make(o)
	require.NoError(t, err)
	list, err := p.Files()
	require.NoError(t, err)
	byName := map[string]string{}
	for _, file := range list {
		byName[file.Name] = file.Content
	}
	return byName
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		environments []string
		change       func(*setup.Options)
		says         string
	}{
		"no repository":                    {[]string{"dev: " + pushToAKS}, func(o *setup.Options) { o.Repository = "" }, "want OWNER/NAME"},
		"one ID only":                      {[]string{"dev: " + pushToAKS}, func(o *setup.Options) { o.Repository = "o@1/r" }, "want OWNER/NAME"},
		"pull requests deliver":            {[]string{"dev: " + pushToAKS}, func(o *setup.Options) { o.Trust = []string{"environment", "pull_request"} }, "they must not deliver"},
		"another trust":                    {[]string{"dev: " + pushToAKS}, func(o *setup.Options) { o.Trust = []string{"all"} }, "want environment, branch or tag"},
		"no trust":                         {[]string{"dev: " + pushToAKS}, func(o *setup.Options) { o.Trust = nil }, "--trust is empty"},
		"no such environment":              {[]string{"dev: " + pushToAKS}, func(o *setup.Options) { o.Environments = []string{"prod"} }, "has no environment prod: it has dev"},
		"nothing in Azure":                 {[]string{"local: {platform: local, manifests: k8s}"}, func(*setup.Options) {}, "no environment of aksflow.yaml is in Azure"},
		"where the registry is":            {[]string{"prod: " + pullOnly}, func(*setup.Options) {}, "--resource-group and --subscription"},
		"an environment named as the pull": {[]string{"pull-request: " + pushToAKS}, func(*setup.Options) {}, "two identities would be called vote-pull-request"},
		"names that become one": {[]string{"dev: " + strings.Replace(pushToAKS, "[develop, 'release/*']", "[a/b, a-b]", 1)}, func(o *setup.Options) { o.Trust = []string{setup.TrustBranch} },
			"two federated credentials of vote-dev would be called branch-a-b"},
		"too many": {[]string{"dev: " + strings.Replace(pushToAKS, "[develop, 'release/*']", "[a, b, c, d, e, f, g, h, i, j]", 1)}, func(o *setup.Options) {
			o.Trust, o.Repository = []string{setup.TrustEnvironment, setup.TrustBranch}, "o@1/r@2"
		}, "22 federated credentials, and 20 is Entra's limit"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, c.environments...)
			c.change(&o)
			_, err := setup.Make(o)
			require.ErrorContains(t, err, c.says)
			assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
		})
	}
}

// A pull environment that names no cluster gets no right in one.
func TestPullWithoutCluster(t *testing.T) {
	o := options(t, "prod: "+pullOnly)
	o.Group, o.PullRequests = "shared", false
	made := files(t, o)
	assert.Len(t, made, 2, "no Kubernetes objects")
	assert.Contains(t, made["vote-prod.json"], `"scope": "Microsoft.ContainerRegistry/registries/reg"`, "without the hash of the login server")
	assert.NotContains(t, made["vote-prod.json"], "ContainerService")
}

// A template cannot assign roles in another group: each group has its own.
func TestGroups(t *testing.T) {
	o := options(t, "dev: "+pushToAKS)
	o.Group, o.RegistryGroup = "identities", "registries"
	made := files(t, o)
	assert.NotContains(t, made["vote-dev.bicep"], "roleAssignments")
	for group, kind := range map[string]string{"registries": "Microsoft.ContainerRegistry/registries", "clusters": "Microsoft.ContainerService/managedClusters"} {
		text := made["vote-dev-in-"+group+".bicep"]
		assert.Contains(t, text, "--resource-group "+group+" --template-file vote-dev-in-"+group+".bicep --parameters \"principalId=$(az identity show ")
		assert.Contains(t, text, "resource target0 '"+kind+"@")
		assert.Contains(t, text, "principalId: principalId\n")
		assert.Contains(t, made["vote-dev-in-"+group+".json"], `"principalId": "[parameters('principalId')]"`)
	}
	assert.Contains(t, made, "vote-pull-request-in-registries.json")
	assert.NotContains(t, made, "vote-pull-request-in-clusters.json")
}

func TestTrust(t *testing.T) {
	o := options(t, "dev: "+pushToAKS)
	o.Trust, o.PullRequests, o.Repository = []string{setup.TrustBranch}, false, "o@1/r@2"
	p, err := setup.Make(o)
	require.NoError(t, err)
	var subjects []string
	for _, c := range p.Identities[0].Credentials {
		subjects = append(subjects, c.Subject)
	}
	assert.Equal(t, []string{"repo:o/r:ref:refs/heads/develop", "repo:o@1/r@2:ref:refs/heads/develop"}, subjects)
	assert.Contains(t, strings.Join(p.Notices, "\n"), "no credential can be for the branch release/*")
}

// Both forms of a template have the same resources with the same values.
func TestBicepIsTheTemplate(t *testing.T) {
	declared := regexp.MustCompile(`(?s)resource (\w+) '([^'@]+)@([^']+)'( existing)? = \{\n(.*?)\n\}`)
	quoted := regexp.MustCompile(`'((?:[^'\\]|\\.)*)'`)
	o := options(t, "dev: "+pushToAKS)
	for name, text := range files(t, o) {
		base, ok := strings.CutSuffix(name, ".bicep")
		if !ok {
			continue
		}
		var arm struct {
			Resources map[string]struct {
				Type, APIVersion, Name string
				Existing               bool
				Properties             map[string]any
			}
		}
		require.NoError(t, json.Unmarshal([]byte(files(t, o)[base+".json"]), &arm))
		resources := declared.FindAllStringSubmatch(text, -1)
		require.Len(t, resources, len(arm.Resources))
		for _, m := range resources {
			same := arm.Resources[m[1]]
			assert.Equal(t, []string{same.Type, same.APIVersion}, m[2:4])
			assert.Equal(t, same.Existing, m[4] != "")
			values := []string{same.Name[strings.LastIndex(same.Name, "/")+1:]}
			for _, key := range []string{"issuer", "subject", "audiences", "roleDefinitionId", "principalType", "description"} {
				switch value := same.Properties[key].(type) {
				case string:
					values = append(values, value)
				case []any:
					values = append(values, value[0].(string))
				}
			}
			var written []string
			for _, q := range quoted.FindAllStringSubmatch(m[5], -1) {
				written = append(written, strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(q[1]))
			}
			assert.Equal(t, values, written, m[1])
		}
	}
}
