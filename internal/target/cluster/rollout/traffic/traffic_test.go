package traffic_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/target/cluster/rollout/traffic"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	require.NoError(t, o.UnmarshalJSON(data))
	return o
}

func text(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	out, err := yaml.Marshal(o.Object["spec"])
	require.NoError(t, err)
	return string(out)
}

const deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: vote, labels: {app: vote}}, spec: {replicas: 3, selector: {matchLabels: {app: vote}}, template: {metadata: {labels: {app: vote, tier: web}}, spec: {containers: [{name: web, image: x}]}}}}`

const service = `{apiVersion: v1, kind: Service, metadata: {name: vote, annotations: {dns: vote.example}}, spec: {type: LoadBalancer, loadBalancerIP: 1.2.3.4, selector: {app: vote}, ports: [{port: 80, nodePort: 30080}]}}`

func TestSecondObjects(t *testing.T) {
	d, s := object(t, deployment), object(t, service)
	second := traffic.Second(d, traffic.Canary, 2)
	assert.Equal(t, "vote-canary", second.GetName())
	assert.Equal(t, `replicas: 2
selector:
  matchLabels:
    aksflow.dev/track: canary
    app: vote
template:
  metadata:
    labels:
      aksflow.dev/track: canary
      app: vote
      tier: web
  spec:
    containers:
    - image: x
      name: web
`, text(t, second))
	assert.Equal(t, object(t, deployment), d, "the first stays as it is")

	assert.True(t, traffic.Selects(s, d))
	assert.True(t, traffic.Selects(s, second), "the new pods get a share of the requests")
	turned := traffic.ToTrack(s, traffic.Next)
	assert.False(t, traffic.Selects(turned, d))
	assert.True(t, traffic.Selects(turned, traffic.Second(d, traffic.Next, 1)))
	assert.False(t, traffic.Selects(traffic.ToHash(s, "5d7f4bfc76"), second))

	own := traffic.SecondService(s, traffic.Canary)
	assert.Equal(t, "vote-canary", own.GetName())
	assert.Empty(t, own.GetAnnotations())
	assert.Equal(t, "ports:\n- port: 80\nselector:\n  aksflow.dev/track: canary\n  app: vote\ntype: ClusterIP\n", text(t, own))
}

func TestBudgets(t *testing.T) {
	d := object(t, deployment)
	budget := object(t, `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: vote}, spec: {minAvailable: 2, selector: {matchExpressions: [{key: app, operator: In, values: [vote]}]}}}`)
	assert.True(t, traffic.Guards(budget, d))
	other := object(t, `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: vote}, spec: {minAvailable: 2, selector: {matchLabels: {app: redis}}}}`)
	assert.False(t, traffic.Guards(other, d))
	assert.False(t, traffic.Guards(object(t, service), d))

	assert.Equal(t, `minAvailable: 2
selector:
  matchExpressions:
  - key: app
    operator: In
    values:
    - vote
  matchLabels:
    pod-template-hash: abc
`, text(t, traffic.ToHash(budget, "abc")))

	for _, test := range []struct {
		limit    string
		replicas int64
		want     string
	}{
		{"minAvailable: 2", 3, "minAvailable: 2"},
		{"minAvailable: 2", 2, "minAvailable: 1"},
		{"minAvailable: 2", 1, "minAvailable: 0"},
		{"minAvailable: 50%", 4, "minAvailable: 50%"},
		{"minAvailable: 50%", 1, "minAvailable: 0"},
		{"maxUnavailable: 1", 1, "maxUnavailable: 1"},
	} {
		budget := object(t, "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: vote}, spec: {"+test.limit+", selector: {matchLabels: {app: vote}}}}")
		second := traffic.SecondBudget(budget, traffic.Next, test.replicas)
		assert.Equal(t, "vote-next", second.GetName())
		assert.Equal(t, test.want+`
selector:
  matchLabels:
    aksflow.dev/track: next
    app: vote
`, text(t, second))
	}
}

func TestReplicas(t *testing.T) {
	for _, test := range []struct {
		stable   int64
		percent  int
		weighted bool
		want     int64
	}{
		{3, 10, false, 1}, {10, 10, false, 1}, {10, 25, false, 3}, {10, 50, false, 10}, {2, 33, false, 1},
		{10, 10, true, 1}, {10, 25, true, 3}, {10, 50, true, 5}, {0, 10, true, 1},
	} {
		assert.Equal(t, test.want, traffic.Replicas(test.stable, test.percent, test.weighted), "%+v", test)
	}
}

func TestWeigh(t *testing.T) {
	route := object(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {rules: [
		{matches: [{path: {value: /a}}], backendRefs: [{name: vote, port: 80}]},
		{backendRefs: [{name: vote, port: 80, weight: 3}, {name: other, port: 80}]},
		{backendRefs: [{name: other, port: 80}]}]}}`)
	assert.True(t, traffic.Routes(route, "vote"))
	assert.False(t, traffic.Routes(route, "absent"))
	assert.Equal(t, `rules:
- backendRefs:
  - name: vote
    port: 80
    weight: 90
  - name: vote-canary
    port: 80
    weight: 10
  matches:
  - path:
      value: /a
- backendRefs:
  - name: vote
    port: 80
    weight: 270
  - name: vote-canary
    port: 80
    weight: 30
  - name: other
    port: 80
    weight: 100
- backendRefs:
  - name: other
    port: 80
`, text(t, traffic.Weigh(route, "vote", "vote-canary", 10)))
}
