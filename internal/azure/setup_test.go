package azure_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/azure/setup"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// sampleSetup plans for this repository's own aksflow.yaml, in the sample estate.
func sampleSetup(t *testing.T, abac bool) *setup.Plan {
	t.Helper()
	c, err := config.Load("../../aksflow.yaml")
	require.NoError(t, err)
	variables := map[string]string{"ACR_NAME": standin.SampleRegistry, "AZURE_SUBSCRIPTION_ID": standin.SampleSubscription, "AKS_RESOURCE_GROUP": standin.SampleGroup}
	p, err := setup.Make(setup.Options{
		Config: c, Lookup: func(name string) (string, bool) { value, ok := variables[name]; return value, ok },
		Repository: "aksflow@1/aksflow@2", Trust: []string{setup.TrustEnvironment, setup.TrustBranch}, PullRequests: true, ABAC: abac,
	})
	require.NoError(t, err)
	return p
}

// deploySetup makes an estate that has nothing but what the plan's ARM templates make. It returns the outputs by the
// identities' names, and the Kubernetes objects with the object IDs.
func deploySetup(t *testing.T, p *setup.Plan, abac bool) (outputs map[string]map[string]string, objects []*unstructured.Unstructured) {
	t.Helper()
	files, err := p.Files()
	require.NoError(t, err)
	outputs = map[string]map[string]string{}
	without(t, func(e *standin.Estate) {
		e.Identities, e.Assignments, e.Registries = nil, nil, slices.Clone(e.Registries)
		e.Registries[0].Repositories = abac
		for _, file := range files {
			if name, ok := strings.CutSuffix(file.Name, ".json"); ok && err == nil {
				outputs[name], err = e.Deploy(standin.SampleGroup, []byte(file.Content), nil)
			}
		}
	})
	require.NoError(t, err)
	for _, file := range files {
		if name, ok := strings.CutSuffix(file.Name, ".yaml"); ok {
			objects = append(objects, decodeAll(t, strings.ReplaceAll(file.Content, "OBJECT_ID", outputs[name]["objectId"]))...)
		}
	}
	return outputs, objects
}

func decodeAll(t *testing.T, text string) (objects []*unstructured.Unstructured) {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		if o.Object != nil {
			objects = append(objects, o)
		}
	}
}

// as is a client in a job whose ID tokens have the subject, as the identity with the client ID.
func as(clientID, subject string) *azure.Client {
	variables := gitHub(subject)
	variables["AZURE_CLIENT_ID"] = clientID
	return client(variables)
}

func sampleCluster(environment string) config.AKS {
	cluster := devCluster
	cluster.Name = "aks-" + environment
	return cluster
}

// What the templates make is enough to deliver, and each part of it is needed: without it, its own remedy is printed.
func TestSetupIsEnoughAndNeeded(t *testing.T) {
	for mode, abac := range map[string]bool{"roles of the registry": false, "roles of repositories": true} {
		t.Run(mode, func(t *testing.T) {
			p := sampleSetup(t, abac)
			outputs, _ := deploySetup(t, p, abac)
			cloud.SetAPIServerCA(t)
			for _, id := range p.Identities {
				for _, credential := range id.Credentials {
					t.Run(id.Name+" "+credential.Name, func(t *testing.T) {
						require.NoError(t, logIn(t, as(outputs[id.Name]["clientId"], credential.Subject)))
					})
				}
				if id.Environment == "" {
					continue
				}
				rights := map[string]func() error{
					"Microsoft.ContainerRegistry/registries": func() error {
						return push(t, as(outputs[id.Name]["clientId"], id.Credentials[0].Subject), "setup-"+id.Name)
					},
					"Microsoft.ContainerService/managedClusters": func() error {
						_, _, err := as(outputs[id.Name]["clientId"], id.Credentials[0].Subject).Cluster(sampleCluster(id.Environment)).Kubeconfig(t.Context())
						return err
					},
				}
				require.Len(t, id.Assignments, len(rights))
				for _, a := range id.Assignments {
					t.Run(id.Name+" without "+a.Role.Name, func(t *testing.T) {
						require.NoError(t, rights[a.Kind](), "with it")
						without(t, func(e *standin.Estate) {
							e.Assignments = slices.DeleteFunc(slices.Clone(e.Assignments), func(there standin.Assignment) bool {
								return there.Principal == outputs[id.Name]["objectId"] && there.Role == a.Role.ID
							})
						})
						expect(t, rights[a.Kind](), []string{
							"az role assignment create --assignee-object-id " + outputs[id.Name]["objectId"] + " --assignee-principal-type ServicePrincipal --role '" + a.Role.Name + "' ",
						})
						for kind, right := range rights {
							if kind != a.Kind {
								require.NoError(t, right(), "it is needed for nothing else")
							}
						}
					})
				}
			}
		})
	}
}

// A pull request's job may pull, and neither push nor be the identity of an environment.
func TestSetupOfPullRequests(t *testing.T) {
	outputs, _ := deploySetup(t, sampleSetup(t, false), false)
	const subject = "repo:aksflow/aksflow:pull_request"
	cloud.SetAPIServerCA(t)
	c := as(outputs["vote-pull-request"]["clientId"], subject)
	require.NoError(t, logIn(t, c))
	require.ErrorContains(t, push(t, c, "setup-pull-request"), "it needs another role there: AcrPush to push")
	for _, environment := range []string{"dev", "staging", "production"} {
		_, _, err := c.Cluster(sampleCluster(environment)).Kubeconfig(t.Context())
		require.ErrorContains(t, err, "may not get the kubeconfig")
		require.ErrorContains(t, logIn(t, as(outputs["vote-"+environment]["clientId"], subject)), "none of its federated credentials has the subject")
	}
}

// The Roles and their bindings, on a real API server: each identity has its rights in its namespace and in no other.
func TestSetupInTheCluster(t *testing.T) {
	p := sampleSetup(t, false)
	outputs, objects := deploySetup(t, p, false)
	admin, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: cloud.Cluster(t)})
	require.NoError(t, err)
	apply := func(o *unstructured.Unstructured) {
		_, err := admin.Apply(t.Context(), o, kube.ApplyOptions{})
		require.NoError(t, err, "%s %s", o.GetKind(), o.GetName())
	}
	for _, namespace := range []string{"vote-dev", "vote-staging", "vote-production", "argocd"} {
		apply(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace}}})
	}
	deployment := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	configMap := &unstructured.Unstructured{}
	configMap.SetAPIVersion("v1")
	configMap.SetKind("ConfigMap")
	configMap.SetName("setup")
	may := func(environment, namespace string) (read, write bool) {
		id := p.Identities[slices.IndexFunc(p.Identities, func(id *setup.Identity) bool { return id.Environment == environment })]
		access := as(outputs[id.Name]["clientId"], id.Credentials[0].Subject).Cluster(sampleCluster(environment))
		cluster, err := kube.Connect(t.Context(), kube.Options{Access: access})
		require.NoError(t, err)
		var denied *kube.PermissionError
		_, err = cluster.Get(t.Context(), deployment, namespace, "vote")
		read = err == nil || !errors.As(kube.Explain("Deployment/vote", err), &denied)
		o := configMap.DeepCopy()
		o.SetNamespace(namespace)
		_, err = cluster.Apply(t.Context(), o, kube.ApplyOptions{})
		return read, err == nil
	}
	for _, environment := range []string{"dev", "production"} {
		read, write := may(environment, "vote-"+environment)
		assert.False(t, read || write, "%s: without the binding", environment)
	}
	for _, o := range objects {
		apply(o)
	}
	for _, c := range []struct {
		environment, namespace string
		read, write            bool
	}{
		{"dev", "vote-dev", true, true}, {"dev", "vote-staging", false, false}, {"dev", "vote-production", false, false},
		{"staging", "vote-staging", true, true}, {"staging", "vote-dev", false, false},
		{"production", "vote-production", true, false}, {"production", "vote-dev", false, false},
	} {
		read, write := may(c.environment, c.namespace)
		assert.Equal(t, []bool{c.read, c.write}, []bool{read, write}, "%s in %s: read, write", c.environment, c.namespace)
	}
}

// Where rights in the cluster are Azure's, a role on one namespace gives them there, without what such a role leaves out.
func TestRolesOfAzureInTheCluster(t *testing.T) {
	admin, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: cloud.Cluster(t)})
	require.NoError(t, err)
	made := func(apiVersion, kind, namespace string, more map[string]any) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": "rbac"}}}
		o.SetNamespace(namespace)
		for key, value := range more {
			o.Object[key] = value
		}
		return o
	}
	for _, namespace := range []string{"vote-rbac", "vote-other"} {
		o := made("v1", "Namespace", "", nil)
		o.SetName(namespace)
		_, err := admin.Apply(t.Context(), o, kube.ApplyOptions{})
		require.NoError(t, err)
	}
	may := func(o *unstructured.Unstructured) error {
		cluster, err := kube.Connect(t.Context(), kube.Options{Access: client(gitHub(standin.SampleSubject)).Cluster(devCluster)})
		require.NoError(t, err)
		_, err = cluster.Apply(t.Context(), o, kube.ApplyOptions{})
		return kube.Explain(o.GetKind()+"/"+o.GetName(), err)
	}
	configMap, role := made("v1", "ConfigMap", "vote-rbac", nil), made("rbac.authorization.k8s.io/v1", "Role", "vote-rbac", map[string]any{"rules": []any{}})
	require.ErrorContains(t, may(configMap), standin.SampleObject+" may not ", "no role at all")
	without(t, func(e *standin.Estate) {
		cluster(func(c *standin.Cluster) { c.AzureRBAC = true })(e)
		e.Assignments = append(slices.Clone(e.Assignments), standin.Assignment{
			Principal: standin.SampleObject, Role: standin.ClusterWriter, Scope: standin.ResourceID(standin.ClusterKind, "aks-dev") + "/namespaces/vote-rbac",
		})
	})
	require.NoError(t, may(configMap))
	require.ErrorContains(t, may(made("v1", "ConfigMap", "vote-other", nil)), "may not ", "another namespace")
	require.ErrorContains(t, may(role), "may not ", "Roles are in no role but an administrator's")
	cloud.Change(func(e *standin.Estate) { e.Assignments[len(e.Assignments)-1].Role = standin.ClusterReader })
	require.ErrorContains(t, may(configMap), "may not ", "a reader")
}

// The stand-in refuses what Azure refuses of a template.
func TestDeploymentIsChecked(t *testing.T) {
	files, err := sampleSetup(t, false).Files()
	require.NoError(t, err)
	require.Equal(t, "vote-dev.json", files[1].Name)
	for name, c := range map[string]struct{ from, to, says string }{
		"credentials at once": {"        \"identity\",\n        \"credential1\"\n", "        \"identity\"\n", "ConcurrentFederatedIdentityCredentialsWrites"},
		"no such role":        {"8311e382-0749-4cb8-b61a-304f252e45ec", "8311e382-0000-4cb8-b61a-304f252e45ec", "RoleDefinitionDoesNotExist"},
		"no such registry":    {"registries/" + standin.SampleRegistry, "registries/other", "ResourceNotFound"},
		"too early":           {"      \"dependsOn\": [\n        \"identity\"\n      ],\n      \"name\": \"vote-dev/environment-dev\"", "      \"name\": \"vote-dev/environment-dev\"", "ParentResourceNotFound"},
		"a condition":         {`"principalType"`, `"condition": "…", "principalType"`, "InvalidTemplate"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, files[1].Content, c.from)
			e := standin.Sample()
			_, err := e.Deploy(standin.SampleGroup, []byte(strings.Replace(files[1].Content, c.from, c.to, 1)), nil)
			require.ErrorContains(t, err, c.says)
		})
	}
	t.Run("twice is as once", func(t *testing.T) {
		e := standin.Sample()
		_, err := e.Deploy(standin.SampleGroup, []byte(files[1].Content), nil)
		require.NoError(t, err)
		once := e
		_, err = e.Deploy(standin.SampleGroup, []byte(files[1].Content), nil)
		require.NoError(t, err)
		assert.Equal(t, once, e)
	})
}
