// Package manifests_test applies the sample's manifests to a real API server.
package manifests_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/testing/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// warnings collects the warnings of the API server, such as for a pod template that Pod Security would refuse.
type warnings struct {
	sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.Lock()
	defer w.Unlock()
	w.texts = append(w.texts, text)
}

func TestOverlaysAreAccepted(t *testing.T) {
	tests := map[string]struct {
		service string
		kinds   []string // beside those of every environment
	}{
		"local":        {service: "ClusterIP", kinds: []string{"Secret"}},
		"local-argocd": {service: "ClusterIP", kinds: []string{"Secret"}},
		"local-flux":   {service: "ClusterIP", kinds: []string{"Secret"}},
		"dev":          {service: "LoadBalancer", kinds: []string{"Secret"}},
		"staging":      {service: "LoadBalancer"},
		"production":   {service: "LoadBalancer", kinds: []string{"HorizontalPodAutoscaler"}},
	}
	assert.ElementsMatch(t, overlays(t), slices.Collect(maps.Keys(tests)))
	everywhere := []string{
		"Deployment", "Namespace", "NetworkPolicy", "NetworkPolicy", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service",
		"ServiceAccount", "StatefulSet",
	}
	for environment, want := range tests {
		t.Run(environment, func(t *testing.T) {
			t.Parallel()
			objects, err := render.Render(t.Context(), "overlays/"+environment, render.Options{})
			require.NoError(t, err)
			remarks := &warnings{}
			accepted := apply(t, objects, remarks)
			assert.Empty(t, remarks.texts)

			var kinds []string
			for _, o := range accepted {
				kinds = append(kinds, o.GetKind())
				namespace := o.GetNamespace()
				if o.GetKind() == "Namespace" {
					namespace = o.GetName()
					assert.Equal(t, "restricted", o.GetLabels()["pod-security.kubernetes.io/enforce"])
				}
				assert.Equal(t, "vote-"+environment, namespace, "namespace of %s", o.GetKind())
			}
			slices.Sort(kinds)
			assert.Equal(t, slices.Sorted(slices.Values(append(slices.Clone(everywhere), want.kinds...))), kinds)

			service := find(t, accepted, "Service", "vote")
			kind, _, _ := unstructured.NestedString(service.Object, "spec", "type")
			assert.Equal(t, want.service, kind)
		})
	}
}

// A number of replicas in the Deployment would undo the autoscaler's at every apply.
func TestAutoscalerOwnsTheReplicas(t *testing.T) {
	objects, err := render.Render(t.Context(), "overlays/production", render.Options{})
	require.NoError(t, err)
	_, found, err := unstructured.NestedFieldNoCopy(find(t, objects, "Deployment", "vote").Object, "spec", "replicas")
	require.NoError(t, err)
	assert.False(t, found, "the Deployment in production sets replicas")
}

// An operator's objects are in its namespace and point at the app's.
func TestOperatorsStayApart(t *testing.T) {
	for path, namespace := range map[string]string{
		"argocd/applications":   "argocd",
		"argocd/applicationset": "argocd",
		"argocd/local":          "argocd",
		"flux/environments":     "flux-system",
		"flux/local":            "flux-system",
	} {
		t.Run(path, func(t *testing.T) {
			objects, err := render.Render(t.Context(), path, render.Options{})
			require.NoError(t, err)
			for _, o := range objects {
				assert.Equal(t, namespace, o.GetNamespace(), "%s %s", o.GetKind(), o.GetName())
			}
		})
	}
}

// The address in repository.yaml reaches the project and the list of repositories that it allows.
func TestRepositoryIsSetOnce(t *testing.T) {
	for path, application := range map[string][]string{
		"argocd/applications":   {"spec", "source"},
		"argocd/applicationset": {"spec", "template", "spec", "source"},
		"argocd/local":          {"spec", "source"},
	} {
		t.Run(path, func(t *testing.T) {
			objects, err := render.Render(t.Context(), path, render.Options{})
			require.NoError(t, err)
			sources, _, err := unstructured.NestedStringSlice(find(t, objects, "AppProject", "vote").Object, "spec", "sourceRepos")
			require.NoError(t, err)
			require.Len(t, sources, 1)
			for _, o := range objects {
				if !strings.HasPrefix(o.GetKind(), "Application") {
					continue
				}
				source, _, err := unstructured.NestedStringMap(o.Object, application...)
				require.NoError(t, err)
				assert.Equal(t, sources[0], source["repoURL"])
				assert.Equal(t, "main", source["targetRevision"])
			}
		})
	}
}

// The project allows the kinds that the overlays hold, and no others.
func TestProjectAllowsWhatTheOverlaysHold(t *testing.T) {
	objects, err := render.Render(t.Context(), "argocd/project", render.Options{})
	require.NoError(t, err)
	project := find(t, objects, "AppProject", "vote")
	var allowed []string
	for _, list := range []string{"clusterResourceWhitelist", "namespaceResourceWhitelist"} {
		kinds, _, err := unstructured.NestedSlice(project.Object, "spec", list)
		require.NoError(t, err)
		for _, k := range kinds {
			allowed = append(allowed, k.(map[string]any)["group"].(string)+"/"+k.(map[string]any)["kind"].(string))
		}
	}
	used := map[string]bool{}
	for _, environment := range overlays(t) {
		objects, err := render.Render(t.Context(), "overlays/"+environment, render.Options{})
		require.NoError(t, err)
		for _, o := range objects {
			used[o.GroupVersionKind().Group+"/"+o.GetKind()] = true
		}
	}
	for _, kind := range allowed {
		assert.True(t, used[kind], "the project allows %s, which no overlay holds", kind)
		delete(used, kind)
	}
	assert.Empty(t, used, "kinds in the overlays that the project does not allow")
}

// overlays returns the names of all environments.
func overlays(t *testing.T) []string {
	t.Helper()
	dirs, err := os.ReadDir("overlays")
	require.NoError(t, err)
	var names []string
	for _, d := range dirs {
		names = append(names, d.Name())
	}
	return names
}

func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("no %s %s", kind, name)
	return nil
}

// apply sends objects to the API server with strict field validation, and returns the objects that it stored.
func apply(t *testing.T, objects []*unstructured.Unstructured, remarks rest.WarningHandler) []*unstructured.Unstructured {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubetest.Shared(t))
	require.NoError(t, err)
	config.WarningHandler = remarks
	client, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	api, err := discovery.NewDiscoveryClientForConfig(config)
	require.NoError(t, err)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(api))

	var accepted []*unstructured.Unstructured
	for _, o := range objects {
		mapping, err := mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
		require.NoError(t, err)
		var resource dynamic.ResourceInterface = client.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			resource = client.Resource(mapping.Resource).Namespace(o.GetNamespace())
		}
		data, err := o.MarshalJSON()
		require.NoError(t, err)
		got, err := resource.Patch(context.WithoutCancel(t.Context()), o.GetName(), "application/apply-patch+yaml", data,
			metav1.PatchOptions{FieldManager: "test", FieldValidation: metav1.FieldValidationStrict})
		require.NoError(t, err, "%s %s", o.GetKind(), o.GetName())
		accepted = append(accepted, got)
	}
	return accepted
}
