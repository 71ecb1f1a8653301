package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/kube/status"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	require.NoError(t, o.UnmarshalJSON(data))
	return o
}

// world holds the pods, ReplicaSets and events of a stream of YAML documents.
func world(t *testing.T, text string) *status.World {
	t.Helper()
	w := &status.World{Graces: status.DefaultGraces}
	for _, document := range strings.Split(text, "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		o := object(t, document)
		switch o.GetKind() {
		case "Pod":
			w.Pods = append(w.Pods, typed[corev1.Pod](t, o))
		case "ReplicaSet":
			w.ReplicaSets = append(w.ReplicaSets, typed[appsv1.ReplicaSet](t, o))
		case "Event":
			w.Events = append(w.Events, typed[corev1.Event](t, o))
		}
	}
	return w
}

func typed[T any](t *testing.T, o *unstructured.Unstructured) *T {
	t.Helper()
	into := new(T)
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into))
	return into
}

func TestReadiness(t *testing.T) {
	for name, test := range map[string]struct {
		yaml    string
		ready   bool
		message string
	}{
		"deployment, spec not seen": {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, generation: 2}\nstatus: {observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1}", false, "not looked at yet"},
		"deployment, half new":      {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 2}\nstatus: {replicas: 3, updatedReplicas: 1, availableReplicas: 2}", false, "1 of 2 pods are new"},
		"deployment, old left":      {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 2}\nstatus: {replicas: 3, updatedReplicas: 2, availableReplicas: 2}", false, "1 old pod still runs"},
		"deployment, unavailable":   {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 2}\nstatus: {replicas: 2, updatedReplicas: 2, availableReplicas: 1}", false, "1 of 2 pods are available"},
		"deployment":                {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 2}\nstatus: {replicas: 2, updatedReplicas: 2, availableReplicas: 2}", true, "2 of 2 pods are available"},
		"deployment of none":        {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 0}\nstatus: {}", true, "0 of 0 pods are available"},
		"stateful set":              {"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a}\nspec: {replicas: 1}\nstatus: {replicas: 1, readyReplicas: 1, updatedReplicas: 1, currentRevision: x, updateRevision: x}", true, "1 of 1 pods are ready"},
		"stateful set, old":         {"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a}\nspec: {replicas: 3}\nstatus: {replicas: 3, readyReplicas: 3, updatedReplicas: 1, currentRevision: x, updateRevision: other}", false, "1 of 3 pods are new"},
		"stateful set, partition":   {"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a}\nspec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 2}}}\nstatus: {replicas: 3, readyReplicas: 3, updatedReplicas: 1, currentRevision: x, updateRevision: other}", true, "3 of 3 pods are ready"},
		"daemon set":                {"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nstatus: {desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 2}", true, "2 of 2 pods are available"},
		"daemon set, old":           {"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nstatus: {desiredNumberScheduled: 2, updatedNumberScheduled: 1, numberAvailable: 2}", false, "1 of 2 pods are new"},
		"daemon set without a node": {"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nstatus: {desiredNumberScheduled: 0}", true, "no node fits its nodeSelector"},
		"replica set":               {"apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: a}\nspec: {replicas: 2}\nstatus: {availableReplicas: 1}", false, "1 of 2 pods are available"},
		"controller, unavailable":   {"apiVersion: v1\nkind: ReplicationController\nmetadata: {name: a}\nspec: {replicas: 2}\nstatus: {availableReplicas: 1}", false, "1 of 2 pods are available"},
		"controller, not seen":      {"apiVersion: v1\nkind: ReplicationController\nmetadata: {name: a, generation: 2}\nspec: {replicas: 1}\nstatus: {observedGeneration: 1, availableReplicas: 1}", false, "not looked at yet"},
		"controller":                {"apiVersion: v1\nkind: ReplicationController\nmetadata: {name: a}\nspec: {replicas: 2}\nstatus: {availableReplicas: 2}", true, "2 of 2 pods are available"},
		"job":                       {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nstatus: {succeeded: 1, conditions: [{type: Complete, status: \"True\"}]}", true, "complete"},
		"job, running":              {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nstatus: {active: 1}", false, "0 of 1 completed"},
		"job, suspended":            {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {suspend: true}", true, "suspended"},
		"pod":                       {"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {phase: Running, conditions: [{type: Ready, status: \"True\"}]}", true, "ready"},
		"claim":                     {"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\nstatus: {phase: Bound}", true, "bound"},
		"claim, waiting":            {"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\nstatus: {phase: Pending}", false, "waits for a volume"},
		"service":                   {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: ClusterIP}", true, ""},
		"load balancer, waiting":    {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: LoadBalancer}", false, "waits for an address"},
		"load balancer":             {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: LoadBalancer}\nstatus: {loadBalancer: {ingress: [{ip: 20.31.4.5}]}}", true, "at 20.31.4.5"},
		"autoscaler, no metrics":    {"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nstatus: {conditions: [{type: ScalingActive, status: \"False\", reason: FailedGetResourceMetric}]}", true, "no metrics yet"},
		"definition":                {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}\nstatus: {conditions: [{type: Established, status: \"True\"}]}", true, "established"},
		"definition, new":           {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}", false, "not established yet"},
		"custom":                    {"apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nstatus: {conditions: [{type: Ready, status: \"True\"}]}", true, "is Ready"},
		"custom, not ready":         {"apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nstatus: {conditions: [{type: Ready, status: \"False\", message: no disk}]}", false, "not Ready yet"},
		"custom, not seen by one":   {"apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, generation: 3}\nstatus: {conditions: [{type: Ready, status: \"True\", observedGeneration: 2}]}", false, "not looked at yet"},
		"custom, not seen":          {"apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, generation: 3}\nstatus: {observedGeneration: 2, conditions: [{type: Ready, status: \"True\"}]}", false, "not looked at yet"},
		"custom, silent":            {"apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := status.Of(object(t, test.yaml), world(t, ""))
			assert.Equal(t, test.ready, s.Ready)
			assert.Contains(t, s.Message, test.message)
			for _, p := range s.Problems {
				assert.Equal(t, status.Perhaps, p.Heals)
				assert.Equal(t, 5*time.Minute, p.Grace)
			}
		})
	}
}

// What is not ready may heal, is being worked on, or will not heal.
func TestCustomResourceProblems(t *testing.T) {
	for conditions, want := range map[string]status.Healing{
		"{type: Ready, status: \"False\", reason: Waiting}":                              status.Perhaps,
		"{type: Ready, status: \"False\", reason: Reconciling, severity: Info}":          status.Expected,
		"{type: Ready, status: \"False\", reason: ReferenceNotFound, severity: Warning}": status.Perhaps,
		"{type: Ready, status: \"False\", reason: BadRequest, severity: Error}":          status.Never,
		"{type: Reconciling, status: \"True\"}":                                          status.Expected,
		"{type: Stalled, status: \"True\", reason: BadSpec}":                             status.Never,
	} {
		s := status.Of(object(t, "apiVersion: dbforpostgresql.azure.com/v1\nkind: FlexibleServer\nmetadata: {name: a}\nstatus: {conditions: ["+conditions+"]}"), world(t, ""))
		require.Len(t, s.Problems, 1, conditions)
		assert.Equal(t, want, s.Problems[0].Heals, conditions)
		assert.False(t, s.Ready)
	}
}

const rollingOut = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, uid: d, annotations: {deployment.kubernetes.io/revision: "2"}}
spec: {replicas: 1}
status: {replicas: 2, updatedReplicas: 1, availableReplicas: 1}
`

const around = `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-old, uid: r1, annotations: {deployment.kubernetes.io/revision: "1"}, ownerReferences: [{uid: d}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-new, uid: r2, annotations: {deployment.kubernetes.io/revision: "2"}, ownerReferences: [{uid: d}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-old-1, uid: p0, ownerReferences: [{uid: r1}]}
status: {phase: Running, containerStatuses: [{name: web, restartCount: 9, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1}}}]}
---
`

const newPod = `apiVersion: v1
kind: Pod
metadata: {name: web-new-1, uid: p, ownerReferences: [{uid: r2}]}
spec: {containers: [{name: web, readinessProbe: {periodSeconds: 2, failureThreshold: 5}}]}
status:
  phase: Pending
`

func TestWhyNot(t *testing.T) {
	event := func(object, reason, message string) string {
		return "\n---\napiVersion: v1\nkind: Event\ninvolvedObject: {uid: " + object + "}\nreason: " + reason + "\nmessage: '" + message + "'\n"
	}
	for name, test := range map[string]struct {
		pod        string
		autoscaler status.Autoscaler
		reason     string
		says       string
		heals      status.Healing
		grace      time.Duration
	}{
		"image name": {
			pod:    `  containerStatuses: [{name: web, image: "UPPER", state: {waiting: {reason: InvalidImageName, message: "couldn't parse"}}}]`,
			reason: "InvalidImageName", says: `"UPPER" is not an image name`,
		},
		"image not found": {
			pod:    `  containerStatuses: [{name: web, image: "r/x:1", state: {waiting: {reason: ErrImagePull, message: 'failed to pull and unpack image "r/x:1": failed to resolve reference "r/x:1": r/x:1: not found'}}}]`,
			reason: "ErrImagePull", says: "the image r/x:1 does not exist in its registry (r/x:1: not found)",
		},
		"image refused, backing off": {
			pod:    `  containerStatuses: [{name: web, image: "r/x:1", state: {waiting: {reason: ImagePullBackOff, message: 'Back-off pulling image "r/x:1"'}}}]` + event("p", "Failed", `Failed to pull image "r/x:1": failed to authorize: 401 Unauthorized`),
			reason: "ErrImagePull", says: "the registry refuses the image r/x:1",
		},
		"image, network": {
			pod:    `  containerStatuses: [{name: web, image: "r/x:1", state: {waiting: {reason: ErrImagePull, message: 'failed to do request: Head "https://r/v2": dial tcp: i/o timeout'}}}]`,
			reason: "ErrImagePull", says: "cannot be pulled right now", heals: status.Perhaps, grace: 30 * time.Second,
		},
		"config missing": {
			pod:    `  containerStatuses: [{name: web, state: {waiting: {reason: CreateContainerConfigError, message: 'configmap "settings" not found'}}}]`,
			reason: "CreateContainerConfigError", says: `ConfigMap "settings" is missing`, heals: status.Perhaps, grace: 3 * time.Second,
		},
		"key missing": {
			pod:    `  containerStatuses: [{name: web, state: {waiting: {reason: CreateContainerConfigError, message: "couldn't find key PASSWORD in Secret vote/redis"}}}]`,
			reason: "CreateContainerConfigError", says: `the key "PASSWORD" of Secret "vote/redis" is missing`, heals: status.Perhaps, grace: 3 * time.Second,
		},
		"root refused": {
			pod:    `  containerStatuses: [{name: web, state: {waiting: {reason: CreateContainerConfigError, message: "container has runAsNonRoot and image will run as root"}}}]`,
			reason: "CreateContainerConfigError", says: "its configuration is wrong: container has runAsNonRoot",
		},
		"volume missing": {
			pod:    event("p", "FailedMount", `MountVolume.SetUp failed for volume "s" : secret "tls" not found`),
			reason: "FailedMount", says: `Secret "tls" is missing`, heals: status.Perhaps, grace: 3 * time.Second,
		},
		"crashed once": {
			pod:    `  containerStatuses: [{name: web, restartCount: 0, state: {terminated: {exitCode: 2}}}]`,
			reason: "Crashed", says: "it ended with exit code 2, once so far", heals: status.Perhaps, grace: time.Minute,
		},
		"crashed again": {
			pod:    `  containerStatuses: [{name: web, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}}]`,
			reason: "CrashLoopBackOff", says: "it was killed for using more memory than its limit (exit code 137), 2 times",
		},
		"ends": {
			pod:    `  containerStatuses: [{name: web, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 0}}}]`,
			reason: "CrashLoopBackOff", says: "it ends, and should keep running",
		},
		"init container": {
			pod:    `  initContainerStatuses: [{name: web, restartCount: 2, state: {terminated: {exitCode: 1}}}]`,
			reason: "CrashLoopBackOff", says: "it ended with exit code 1, 3 times",
		},
		"probe": {
			pod:    `  containerStatuses: [{name: web, state: {running: {}}}]` + event("p", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
			reason: "NotReady", says: "statuscode: 503", heals: status.Perhaps, grace: 10 * time.Second,
		},
		"no room": {
			pod: `  conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1"}]`, autoscaler: status.Absent,
			reason: "Unschedulable", says: "no node takes the pod: 0/1 nodes are available: 1 Insufficient cpu", heals: status.Perhaps, grace: 2 * time.Second,
		},
		"no room, unknown": {
			pod:    `  conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1"}]`,
			reason: "Unschedulable", heals: status.Perhaps, grace: 30 * time.Second,
		},
		"volume coming": {
			pod: `  conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."}]`, autoscaler: status.Absent,
			reason: "Unschedulable", heals: status.Perhaps, grace: 5 * time.Minute,
		},
		"node starting": {
			pod: `  conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }."}]`, autoscaler: status.Absent,
			reason: "Unschedulable", heals: status.Perhaps, grace: 30 * time.Second,
		},
		"disk moving": {
			pod:    event("p", "FailedAttachVolume", "Multi-Attach error for volume"),
			reason: "FailedAttachVolume", heals: status.Perhaps, grace: 5 * time.Minute,
		},
		"node coming": {
			pod:    `  conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1"}]` + event("p", "TriggeredScaleUp", "pod triggered scale-up"),
			reason: "Unschedulable", says: "a node is being added", heals: status.Expected, grace: 20 * time.Minute,
		},
		"no node coming": {
			pod: `  conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1"}]` + event("p", "NotTriggerScaleUp", "max node group size reached"), autoscaler: status.Present,
			reason: "Unschedulable", says: "max node group size reached", heals: status.Perhaps, grace: 2 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, around+newPod+test.pod)
			w.Autoscaler = test.autoscaler
			s := status.Of(object(t, rollingOut), w)
			assert.False(t, s.Ready)
			require.Len(t, s.Problems, 1, "%+v", s.Problems)
			p := s.Problems[0]
			assert.Equal(t, "web-new-1", p.Pod)
			assert.Equal(t, test.reason, p.Reason)
			assert.Contains(t, p.Message, test.says)
			assert.Equal(t, test.heals, p.Heals)
			assert.Equal(t, test.grace, p.Grace)
		})
	}
}

func TestRefusedPods(t *testing.T) {
	for message, test := range map[string]struct {
		says  string
		heals status.Healing
		grace time.Duration
	}{
		`pods "web-1" is forbidden: exceeded quota: pods, requested: pods=1`:                                          {"the namespace's quota allows no further pod: exceeded quota", status.Never, 0},
		`pods "web-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true`:                   {"the namespace's Pod Security standard refuses the pod: violates PodSecurity", status.Never, 0},
		`admission webhook "policy.example.com" denied the request: no latest tags`:                                   {"no latest tags", status.Never, 0},
		`Internal error occurred: failed calling webhook "policy.example.com": connection refused`:                    {"failed calling webhook", status.Perhaps, status.DefaultGraces.Refused},
		`pods "web-" is forbidden: error looking up service account vote/web: serviceaccount "web" not found`:         {`serviceaccount "web" not found`, status.Perhaps, 3 * time.Second},
		`pods "web-" is forbidden: error looking up service account vote/default: serviceaccount "default" not found`: {"kube-controller-manager should make it", status.Perhaps, 2 * time.Minute},
	} {
		o, w := object(t, rollingOut), world(t, around)
		w.ReplicaSets[1].Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: message}}
		s := status.Of(o, w)
		require.Len(t, s.Problems, 1)
		assert.Contains(t, s.Problems[0].Message, test.says)
		assert.Equal(t, test.heals, s.Problems[0].Heals)
		assert.Equal(t, test.grace, s.Problems[0].Grace, message)

		// The Deployment repeats what an older ReplicaSet complained of.
		require.NoError(t, unstructured.SetNestedSlice(o.Object, []any{map[string]any{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}}, "status", "conditions"))
		assert.Empty(t, status.Of(o, world(t, around)).Problems)
	}
}

func TestProgressDeadline(t *testing.T) {
	o := object(t, rollingOut)
	require.NoError(t, unstructured.SetNestedSlice(o.Object, []any{map[string]any{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}}, "status", "conditions"))
	s := status.Of(o, world(t, around))
	require.Len(t, s.Problems, 1)
	assert.Contains(t, s.Problems[0].Message, "no progress within its progressDeadlineSeconds (10m)")
}

func TestRoute(t *testing.T) {
	const route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a, namespace: web, generation: 3}\nspec: {parentRefs: [{name: gw, namespace: infra}]}\n"
	answer := func(conditions string) string {
		return "{parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gw, namespace: infra}, controllerName: x, conditions: [" + conditions + "]}"
	}
	const accepted = `{type: Accepted, status: "True", observedGeneration: 3, reason: Accepted}`
	for name, test := range map[string]struct {
		parents string
		message string // "": it is ready
		heals   status.Healing
		grace   time.Duration
	}{
		"silence":               {"", "no Gateway has taken it: nothing answers for Gateway infra/gw", status.Forgiven, 10 * time.Second},
		"about another Gateway": {`{parentRef: {name: gw}, conditions: [` + accepted + `]}`, "no Gateway has taken it", status.Forgiven, 10 * time.Second},
		"taken":                 {answer(accepted + `, {type: ResolvedRefs, status: "True", observedGeneration: 3}`), "", 0, 0},
		"generation untold":     {answer(`{type: Accepted, status: "True"}`), "", 0, 0},
		"before":                {answer(`{type: Accepted, status: "True", observedGeneration: 2}`), "is its controller running", status.Perhaps, 5 * time.Minute},
		"refused before":        {answer(`{type: Accepted, status: "False", observedGeneration: 2, reason: UnsupportedValue}`), "is its controller running", status.Perhaps, 5 * time.Minute},
		"half":                  {answer(accepted + `, {type: ResolvedRefs, status: "True", observedGeneration: 2}`), "is its controller running", status.Perhaps, 5 * time.Minute},
		"pending":               {answer(`{type: Accepted, status: "False", observedGeneration: 3, reason: Pending}`), "is its controller running", status.Perhaps, 5 * time.Minute},
		"not programmed":        {answer(accepted + `, {type: Programmed, status: "False", observedGeneration: 3, reason: Invalid}`), "is its controller running", status.Perhaps, 5 * time.Minute},
		"no listener":           {answer(`{type: Accepted, status: "False", observedGeneration: 3, reason: NotAllowedByListeners}`), "Gateway infra/gw refuses it: NotAllowedByListeners", status.Perhaps, 20 * time.Second},
		"no backend":            {answer(accepted + `, {type: ResolvedRefs, status: "False", observedGeneration: 3, reason: BackendNotFound, message: no Service web}`), "BackendNotFound: no Service web", status.Perhaps, 20 * time.Second},
		"unsupported":           {answer(`{type: Accepted, status: "False", observedGeneration: 3, reason: UnsupportedValue, message: bad filter}`), "UnsupportedValue: bad filter", status.Never, 0},
		"taken by one of two":   {answer(`{type: Accepted, status: "False", observedGeneration: 3, reason: NoMatchingParent}`) + ", " + answer(accepted), "", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := status.Of(object(t, route+"status: {parents: ["+test.parents+"]}"), world(t, ""))
			if test.message == "" {
				assert.True(t, s.Ready)
				assert.Equal(t, "taken by Gateway infra/gw", s.Message)
				assert.Empty(t, s.Problems)
				return
			}
			assert.False(t, s.Ready)
			require.Len(t, s.Problems, 1)
			assert.Contains(t, s.Problems[0].Message, test.message)
			assert.Equal(t, test.heals, s.Problems[0].Heals)
			assert.Equal(t, test.grace, s.Problems[0].Grace)
		})
	}
	assert.True(t, status.Watched(object(t, route)))
	assert.True(t, status.Of(object(t, strings.Replace(route, "parentRefs", "rules", 1)), world(t, "")).Ready, "it is in front of nothing")
}
