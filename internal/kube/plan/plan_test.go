package plan_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/kube/plan"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	require.NoError(t, o.UnmarshalJSON(data))
	return o
}

func TestGroups(t *testing.T) {
	var objects []*unstructured.Unstructured
	for _, kind := range []string{
		"{apiVersion: policy/v1, kind: PodDisruptionBudget", "{apiVersion: apps/v1, kind: Deployment", "{apiVersion: batch/v1, kind: Job", "{apiVersion: apps/v1, kind: StatefulSet",
		"{apiVersion: v1, kind: Service", "{apiVersion: v1, kind: PersistentVolumeClaim", "{apiVersion: v1, kind: Secret", "{apiVersion: example.com/v1, kind: Deployment",
		"{apiVersion: rbac.authorization.k8s.io/v1, kind: Role", "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition", "{apiVersion: v1, kind: Namespace",
	} {
		objects = append(objects, object(t, kind+", metadata: {name: a}}"))
	}
	var order []string
	for _, group := range plan.Groups(objects) {
		for _, o := range group.Objects {
			order = append(order, group.Stage.String()+": "+o.GetKind())
		}
	}
	assert.Equal(t, []string{
		"namespaces: Namespace", "definitions: CustomResourceDefinition", "access: Role", "config: Secret", "storage: PersistentVolumeClaim",
		"services: Service", "data: StatefulSet", "jobs: Job", "workloads: Deployment", "the rest: PodDisruptionBudget", "the rest: Deployment",
	}, order)
}

func TestNormalize(t *testing.T) {
	scope := func(kind schema.GroupVersionKind) (bool, error) {
		if kind.Group == "example.com" {
			return false, errors.New("unknown")
		}
		return kind.Kind != "Namespace", nil
	}
	objects := []*unstructured.Unstructured{
		object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: dev, namespace: dev}}"),
		object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: x, resourceVersion: '7', managedFields: []}, status: {}}"),
		object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: tools}}"),
		object(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: c}, spec: {group: example.com, scope: Namespaced, names: {kind: Thing}}}"),
		object(t, "{apiVersion: example.com/v1, kind: Thing, metadata: {name: d}}"),
	}
	before := objects[1].DeepCopy()
	normal, err := plan.Normalize(objects, []string{"dev", "tools"}, scope)
	require.NoError(t, err)
	var refs []string
	for _, o := range normal {
		refs = append(refs, plan.RefOf(o).Long())
	}
	assert.Equal(t, []string{"Namespace/dev", "ConfigMap/dev/a", "ConfigMap/tools/b", "CustomResourceDefinition/dev/c", "Thing/dev/d"}, refs)
	assert.Equal(t, map[string]any{"name": "a", "namespace": "dev"}, normal[1].Object["metadata"])
	assert.Equal(t, before, objects[1], "the manifests stay as they are")

	_, err = plan.Normalize(slices.Concat(objects[:3], objects[1:2], objects[4:]), []string{"dev"}, scope)
	require.ErrorContains(t, err, "ConfigMap/b is for the namespace tools, and this deploys to dev")
	require.ErrorContains(t, err, "ConfigMap/dev/a stands in the manifests twice")
	require.ErrorContains(t, err, "Thing/d: unknown")
}

// live is what a server makes of an apply: defaults filled in, and the fields written down that the apply set.
const live = `
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: dev
  annotations: {tool.dev/run: "1"}
  labels: {app: web}
  managedFields:
  - manager: tool
    operation: Apply
    apiVersion: v1
    fieldsV1: {"f:metadata": {"f:annotations": {"f:tool.dev/run": {}}, "f:labels": {"f:app": {}}}, "f:spec": {"f:selector": {}, "f:finalizers": {"v:\"a\"": {}}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:targetPort": {}}}}}
spec:
  selector: {app: web}
  finalizers: [a, b]
  type: ClusterIP
  ports: [{port: 80, protocol: TCP, targetPort: 8080}]
`

func TestUpToDate(t *testing.T) {
	for name, test := range map[string]struct {
		desired string
		want    bool
	}{
		"same":               {"metadata: {name: web, namespace: dev, labels: {app: web}}, spec: {selector: {app: web}, finalizers: [a], ports: [{port: 80, targetPort: 8080}]}", true},
		"other run":          {"metadata: {name: web, namespace: dev, labels: {app: web}, annotations: {tool.dev/run: '2'}}, spec: {selector: {app: web}, finalizers: [a], ports: [{port: 80, targetPort: 8080}]}", true},
		"another value":      {"metadata: {name: web, labels: {app: web}}, spec: {selector: {app: web}, finalizers: [a], ports: [{port: 80, targetPort: 8081}]}", false},
		"a field less":       {"metadata: {name: web, labels: {app: web}}, spec: {selector: {app: web}, finalizers: [a], ports: [{port: 80}]}", false},
		"a field more":       {"metadata: {name: web, labels: {app: web}}, spec: {selector: {app: web}, finalizers: [a], type: ClusterIP, ports: [{port: 80, targetPort: 8080}]}", false},
		"a label less":       {"metadata: {name: web}, spec: {selector: {app: web}, finalizers: [a], ports: [{port: 80, targetPort: 8080}]}", false},
		"an item more":       {"metadata: {name: web, labels: {app: web}}, spec: {selector: {app: web}, finalizers: [a], ports: [{port: 80, targetPort: 8080}, {port: 81}]}", false},
		"an item less":       {"metadata: {name: web, labels: {app: web}}, spec: {selector: {app: web}, finalizers: [a], ports: []}", false},
		"an element more":    {"metadata: {name: web, labels: {app: web}}, spec: {selector: {app: web}, finalizers: [a, b], ports: [{port: 80, targetPort: 8080}]}", false},
		"an atom is another": {"metadata: {name: web, labels: {app: web}}, spec: {selector: {app: web, x: y}, finalizers: [a], ports: [{port: 80, targetPort: 8080}]}", false},
	} {
		t.Run(name, func(t *testing.T) {
			desired := object(t, "{apiVersion: v1, kind: Service, "+test.desired+"}")
			copied := desired.DeepCopy()
			assert.Equal(t, test.want, plan.UpToDate(object(t, live), desired, "tool", "tool.dev/"))
			assert.Equal(t, copied, desired)
		})
	}
	same := object(t, live)
	same.SetManagedFields(nil)
	assert.False(t, plan.UpToDate(object(t, live), same, "someone-else", ""))
}

func TestSecretThatIsNotBase64(t *testing.T) {
	scope := func(schema.GroupVersionKind) (bool, error) { return true, nil }
	_, err := plan.Normalize([]*unstructured.Unstructured{object(t, "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {fine: aHVzaA==, password: hush!}}")}, []string{"dev"}, scope)
	require.EqualError(t, err, "Secret/a: data.password is not base64: encode it, or put the text itself under stringData")
	_, err = plan.Normalize([]*unstructured.Unstructured{
		object(t, "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {fine: \"aHVz\\naA==\\n\", empty: ''}, stringData: {password: hush!}}"),
		object(t, "{apiVersion: bitnami.com/v1, kind: Secret, metadata: {name: b}, data: {password: hush!}}"),
	}, []string{"dev"}, scope)
	require.NoError(t, err)
}

func TestContains(t *testing.T) {
	live := object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: a, uid: u, labels: {team: x, part-of: other, more: y}}, spec: {finalizers: [kubernetes]}}")
	for text, want := range map[string]bool{
		"{apiVersion: v1, kind: Namespace, metadata: {name: a}}":                                      true,
		"{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: x, part-of: mine}}}":    true,
		"{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: z}}}":                   false,
		"{apiVersion: v1, kind: Namespace, metadata: {name: a, annotations: {a: b}}}":                 false,
		"{apiVersion: v1, kind: Namespace, metadata: {name: a}, spec: {finalizers: [kubernetes]}}":    true,
		"{apiVersion: v1, kind: Namespace, metadata: {name: a}, spec: {finalizers: [a, kubernetes]}}": false,
	} {
		assert.Equal(t, want, plan.Contains(live, object(t, text), "part-of"), text)
	}
}

func TestRefusedFields(t *testing.T) {
	live := object(t, "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {serviceName: a, replicas: 1, revisionHistoryLimit: 10}}")
	desired := object(t, "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {serviceName: b, replicas: 2, podManagementPolicy: Parallel}}")
	const refusal = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'template' are forbidden"
	assert.Equal(t, []string{"spec.podManagementPolicy", "spec.serviceName"}, plan.Refused(live, desired, []string{"spec"}, refusal))
	assert.Equal(t, []string{"roleRef"}, plan.Refused(live, desired, []string{"roleRef"}, refusal))
	assert.Equal(t, []string{"spec"}, plan.Refused(live, live, []string{"spec"}, refusal))
}
