package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/kube/status"
)

// one is a kind's status and the first of its problems.
type one struct {
	object, around string
	ready          bool
	message        string
	reason, says   string
	heals          status.Healing
	grace          time.Duration
}

func checkKinds(t *testing.T, tests map[string]one, around func(*status.World)) {
	t.Helper()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := world(t, test.around)
			w.Find = found(t, node1)
			if around != nil {
				around(w)
			}
			s := status.Of(object(t, test.object), w)
			assert.Equal(t, test.ready, s.Ready, "%+v", s)
			assert.Contains(t, s.Message, test.message)
			if test.reason == "" {
				assert.Empty(t, s.Problems)
				return
			}
			require.NotEmpty(t, s.Problems)
			p := s.Problems[0]
			assert.Equal(t, test.reason, p.Reason)
			assert.Contains(t, p.Message, test.says)
			assert.Equal(t, test.heals, p.Heals)
			assert.Equal(t, test.grace, p.Grace)
		})
	}
}

func TestIngresses(t *testing.T) {
	const head = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, namespace: shop, uid: i}\nspec: {ingressClassName: nginx}\n"
	event := func(kind, reason, message string) string {
		return "apiVersion: v1\nkind: Event\nmetadata: {uid: e}\ninvolvedObject: {uid: i}\ntype: " + kind + "\nreason: " + reason + "\nmessage: " + message
	}
	checkKinds(t, map[string]one{
		"address":         {object: head + "status: {loadBalancer: {ingress: [{ip: 20.31.4.5}]}}", ready: true, message: "at 20.31.4.5"},
		"host name":       {object: head + "status: {loadBalancer: {ingress: [{hostname: a.example}]}}", ready: true, message: "at a.example"},
		"no class":        {object: head, message: "waits for an address", reason: "NoClass", says: "there is no IngressClass \"nginx\"", heals: status.Forgiven, grace: 10 * time.Second},
		"default class":   {object: strings.Replace(head, "nginx", "''", 1), message: "waits for an address", reason: "Silent", says: "is one running", heals: status.Forgiven, grace: 10 * time.Second},
		"taken":           {object: head, around: event("Normal", "Sync", "Scheduled for sync"), message: "waits for an address", reason: "Pending", says: "has not given it an address yet", heals: status.Forgiven, grace: 90 * time.Second},
		"cannot be taken": {object: head, around: event("Warning", "Sync", "Error syncing to GCP"), message: "waits for an address", reason: "Sync", says: "gives it no address: Error syncing to GCP", heals: status.Perhaps, grace: 5 * time.Minute},
	}, nil)
	checkKinds(t, map[string]one{"nothing changed": {object: head, ready: true, message: "as before"}}, func(w *status.World) { w.Before = &status.Baseline{Unchanged: true} })
	checkKinds(t, map[string]one{"had none": {object: head, ready: true, message: "as before"}}, func(w *status.World) {
		w.Before = &status.Baseline{Objects: map[types.UID]*unstructured.Unstructured{"i": object(t, head)}}
	})
}

func TestDeployments(t *testing.T) {
	const head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop, uid: d, annotations: {deployment.kubernetes.io/revision: \"2\"}}\n"
	restarted := strings.Replace(onNode(plainSpec, `  conditions: [{type: Ready, status: "True"}]
  containerStatuses: [{name: web, ready: true, restartCount: 1, state: {running: {}}, lastState: {terminated: {exitCode: 1, startedAt: "2026-11-26T12:00:00Z", finishedAt: "2026-11-26T12:00:02Z"}}}]`), "Pending", "Running", 1)
	checkKinds(t, map[string]one{
		"paused": {object: head + "spec: {replicas: 1, paused: true}\nstatus: {}", message: "paused",
			reason: "Paused", says: "take it out of the manifests, or resume", heals: status.Never},
		"paused, and nothing to replace": {object: head + "spec: {replicas: 1, paused: true}\nstatus: {replicas: 1, updatedReplicas: 1, availableReplicas: 1}", ready: true},
		"ready, not available":           {object: head + "spec: {replicas: 1, minReadySeconds: 10}\nstatus: {replicas: 1, updatedReplicas: 1, readyReplicas: 1}", message: "not yet for minReadySeconds: 10"},
		"recreate": {object: head + "spec: {replicas: 1, strategy: {type: Recreate}}\nstatus: {}", around: around[:strings.LastIndex(around, "---\napiVersion: v1\nkind: Pod")] + leaving[1:],
			message: "0 of 1 pods are new (pod web-old-9 is still terminating)"},
		"the old pods crash": {object: head + "spec: {replicas: 1}\nstatus: {replicas: 2, updatedReplicas: 1}", around: onNode(plainSpec, `  containerStatuses: [{name: web, state: {waiting: {reason: ContainerCreating}}}]`),
			message: "1 old pod still runs", reason: "ContainerCreating", heals: status.Expected},
		"runs again without a probe": {object: head + "spec: {replicas: 1}\nstatus: {replicas: 1, updatedReplicas: 1, availableReplicas: 1}", around: restarted,
			message: "1 of 1 pods are available", reason: "Restarted 1", says: "whether it stays is waited for (it ended with exit code 1)", heals: status.Forgiven, grace: 5 * time.Second},
		"runs since a moment": {object: head + "spec: {replicas: 1}\nstatus: {replicas: 1, updatedReplicas: 1, availableReplicas: 1}", around: strings.Replace(restarted, "restartCount: 1", "restartCount: 0", 1),
			reason: "Settling", says: "it runs, and has no readiness probe", heals: status.Forgiven, grace: 3 * time.Second},
		"ended since the Deployment looked": {object: head + "spec: {replicas: 1}\nstatus: {replicas: 1, updatedReplicas: 1, availableReplicas: 1}",
			around: onNode(plainSpec, `  containerStatuses: [{name: web, ready: false, state: {terminated: {exitCode: 3}}}]`), message: "1 of 1 pods are available", reason: "Crashed", says: "exit code 3", heals: status.Perhaps, grace: time.Minute},
		"runs again with a probe": {object: head + "spec: {replicas: 1}\nstatus: {replicas: 1, updatedReplicas: 1, availableReplicas: 1}",
			around: strings.Replace(restarted, "[{name: web}]", "[{name: web, readinessProbe: {}}]", 1), ready: true},
		"too late": {object: head + "spec: {replicas: 1, progressDeadlineSeconds: 6}\nstatus: {replicas: 1, updatedReplicas: 1, conditions: [{type: Progressing, status: \"False\", reason: ProgressDeadlineExceeded}]}",
			around: onNode("  containers: [{name: web, readinessProbe: {periodSeconds: 5, failureThreshold: 100}}]", `  containerStatuses: [{name: web, state: {running: {}}}]`) + podEvent("Unhealthy", "Readiness probe failed: cat: /tmp/ok: No such file or directory"),
			reason: "ProgressDeadlineExceeded", says: "no progress within its progressDeadlineSeconds (6s): Readiness probe failed: cat: /tmp/ok: No such file", heals: status.Never},
	}, nil)

	w := world(t, strings.Replace(restarted, "restartCount: 1, state: {running: {}}", "restartCount: 0, state: {running: {startedAt: \"2026-11-26T12:00:00Z\"}}", 1))
	web := object(t, head+"spec: {replicas: 1}\nstatus: {replicas: 1, updatedReplicas: 1, availableReplicas: 1}")
	w.Now = time.Date(2026, 11, 26, 12, 0, 2, 0, time.UTC)
	assert.False(t, status.Of(web, w).Ready)
	w.Now = w.Now.Add(15 * time.Second)
	assert.True(t, status.Of(web, w).Ready)
	w.Now, w.Before = time.Time{}, &status.Baseline{Pods: map[types.UID]bool{"p": true}}
	assert.True(t, status.Of(web, w).Ready, "it was there before")

	late := object(t, head+"spec: {replicas: 1}\nstatus: {conditions: [{type: Progressing, status: \"False\", reason: ProgressDeadlineExceeded, lastUpdateTime: \"2026-11-26T12:00:00Z\"}]}")
	w = world(t, around)
	assert.Len(t, status.Of(late, w).Problems, 1)
	w.Before = &status.Baseline{Objects: map[types.UID]*unstructured.Unstructured{"d": late.DeepCopy()}}
	assert.Empty(t, status.Of(late, w).Problems, "it was too late before the deploy")
	w.Before.Unchanged = true
	assert.Len(t, status.Of(late, w).Problems, 1)
}

func TestStatefulSets(t *testing.T) {
	set := func(spec, state string) string {
		return "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db, namespace: shop, uid: s}\nspec: {replicas: 2" + spec + "}\nstatus: {currentRevision: one, updateRevision: two, " + state + "}"
	}
	pod := func(name, revision, state string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: shop, uid: " + name + ", labels: {controller-revision-hash: " + revision + "}, ownerReferences: [{uid: s, kind: StatefulSet}]}\n" +
			"spec: {nodeName: node-1, containers: [{name: db}], initContainers: [{name: wait-for-db}]}\nstatus: {phase: Pending, " + state + "}\n---\n"
	}
	const failedCreate = `
apiVersion: v1
kind: Event
metadata: {uid: e}
involvedObject: {uid: s}
reason: FailedCreate
count: 7
message: 'create Pod db-1 in StatefulSet db failed error: pods "db-1" is forbidden: maximum memory usage per Container is 64Mi, but limit is 128Mi'
`
	const ok = `conditions: [{type: Ready, status: "True"}]`
	const crash = `containerStatuses: [{name: db, restartCount: 4, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1}}}]`
	checkKinds(t, map[string]one{
		"ready, not for long enough": {object: set(", minReadySeconds: 10", "replicas: 2, readyReplicas: 2, updatedReplicas: 2, availableReplicas: 1"), message: "1 of 2 pods are ready for 10 s"},
		"on delete":                  {object: set(", updateStrategy: {type: OnDelete}", "replicas: 2, readyReplicas: 2, updatedReplicas: 0"), around: pod("db-0", "one", ok), ready: true, message: "keep their revision"},
		"init container": {object: set("", "replicas: 2, readyReplicas: 0, updatedReplicas: 1"), around: pod("db-0", "two", `initContainerStatuses: [{name: wait-for-db, state: {running: {}}}], containerStatuses: [{name: db, state: {waiting: {reason: PodInitializing}}}]`),
			message: "1 of 2 pods are new", reason: "Initializing", says: "init container wait-for-db (1 of 1) is running", heals: status.Expected},
		"refused":                    {object: set("", "replicas: 1, readyReplicas: 1"), around: pod("db-0", "one", ok) + failedCreate, reason: "FailedCreate", says: "limit is 128Mi", heals: status.Perhaps, grace: 2 * time.Second},
		"refused before, all there":  {object: set("", "replicas: 2, readyReplicas: 1, updatedReplicas: 1"), around: pod("db-0", "one", ok) + pod("db-1", "two", `containerStatuses: [{name: db, state: {waiting: {reason: ContainerCreating}}}]`) + failedCreate, reason: "ContainerCreating", heals: status.Expected},
		"one of before blocks":       {object: set("", "replicas: 2, readyReplicas: 1, updatedReplicas: 0"), around: pod("db-0", "one", crash) + pod("db-1", "one", ok), reason: "CrashLoopBackOff", says: "waits for this pod of the revision before: it ended with exit code 1", heals: status.Perhaps, grace: 30 * time.Second},
		"peers that start":           {object: set(", podManagementPolicy: Parallel", "replicas: 2, updatedReplicas: 2"), around: pod("db-0", "two", crash) + pod("db-1", "two", `containerStatuses: [{name: db, state: {waiting: {reason: ContainerCreating}}}]`), reason: "CrashLoopBackOff", says: "5 times", heals: status.Expected},
		"a pod is still terminating": {object: set("", "replicas: 2, readyReplicas: 1, updatedReplicas: 0"), around: pod("db-0", "one", ok) + leaving[5:], message: "0 of 2 pods are new (pod web-old-9 is still terminating)"},
	}, nil)
	checkKinds(t, map[string]one{
		"refused before": {object: set("", "replicas: 1, readyReplicas: 1"), around: pod("db-0", "one", ok) + failedCreate},
	}, func(w *status.World) {
		w.Before = &status.Baseline{Covers: func(e *corev1.Event) bool { return e.Count <= 7 }}
	})
}

func TestDaemonSets(t *testing.T) {
	const set = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: log, uid: s, annotations: {deprecated.daemonset.template.generation: \"2\"}}\nspec: {updateStrategy: {type: OnDelete}}\nstatus: {desiredNumberScheduled: 2, updatedNumberScheduled: 1, numberAvailable: 1}"
	const pods = `
apiVersion: v1
kind: Pod
metadata: {name: log-1, uid: p1, labels: {pod-template-generation: "2"}, ownerReferences: [{uid: s}]}
spec: {nodeName: node-1, containers: [{name: log}]}
status: {phase: Running, containerStatuses: [{name: log, ready: true, state: {running: {}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: log-2, uid: p2, labels: {pod-template-generation: "2"}, ownerReferences: [{uid: s}]}
spec: {nodeName: node-2, containers: [{name: log}]}
status: {phase: Running, conditions: [{type: Ready, status: "True"}]}
`
	checkKinds(t, map[string]one{
		"on a node that does not answer": {object: set, around: pods, message: "1 of 2", reason: "NodeNotReady", says: "node node-1 is not ready", heals: status.Forgiven, grace: 30 * time.Second},
	}, func(w *status.World) { w.Find = found(t, deadNode) })
	checkKinds(t, map[string]one{
		"on delete": {object: strings.Replace(set, "numberAvailable: 1", "numberAvailable: 2", 1), ready: true, message: "2 of 2"},
	}, nil)
}

func TestJobs(t *testing.T) {
	job := func(spec, state string) string {
		return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, uid: j}\nspec: {completions: 1, " + spec + "}\nstatus: {" + state + "}"
	}
	failedPod := "apiVersion: v1\nkind: Pod\nmetadata: {name: migrate-1, uid: p, ownerReferences: [{uid: j}]}\nspec: {restartPolicy: Never, containers: [{name: migrate}]}\n" +
		"status: {phase: Failed, containerStatuses: [{name: migrate, state: {terminated: {exitCode: 3}}}]}"
	checkKinds(t, map[string]one{
		"a try failed":          {object: job("backoffLimit: 3", "active: 1, failed: 1"), around: failedPod, message: "0 of 1 completed", reason: "TryFailed", says: "1 try has failed of at most 4: it ended with exit code 3", heals: status.Expected},
		"all tries failed":      {object: job("", `failed: 4, conditions: [{type: Failed, status: "True", reason: BackoffLimitExceeded, message: Job has reached the specified backoff limit}]`), around: failedPod, message: "failed", reason: "BackoffLimitExceeded", says: "the Job failed: it ended with exit code 3", heals: status.Never},
		"by its failure policy": {object: job("", `failed: 1, conditions: [{type: FailureTarget, status: "True", reason: PodFailurePolicy, message: Container migrate failed with exit code 3 matching FailJob rule at index 0}]`), around: failedPod, message: "failed", reason: "PodFailurePolicy", says: "exit code 3 (Container migrate failed", heals: status.Never},
		"in a queue":            {object: strings.Replace(job("suspend: true", ""), "uid: j", "uid: j, labels: {kueue.x-k8s.io/queue-name: team}", 1), message: "suspended", reason: "Queued", says: "queue team", heals: status.Expected, grace: time.Hour},
		"suspended":             {object: job("suspend: true", ""), ready: true, message: "suspended"},
		"half done":             {object: strings.Replace(job("parallelism: 2", "active: 1, succeeded: 1"), "completions: 1", "completions: 2", 1), message: "1 of 2 completed"},
	}, nil)
	assert.Equal(t, 11*time.Minute, status.Of(object(t, job("activeDeadlineSeconds: 600", "active: 1")), world(t, "")).Limit)
	assert.Equal(t, time.Hour, status.Of(object(t, job("", "active: 1")), world(t, "")).Limit)
}

// A Job that its own ttlSecondsAfterFinished has removed is done; another object that is gone is not.
func TestGone(t *testing.T) {
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, uid: j}\nspec: {ttlSecondsAfterFinished: 1}\n"
	event := func(reason string) string {
		return "apiVersion: v1\nkind: Event\nmetadata: {uid: e}\ninvolvedObject: {uid: j}\nreason: " + reason + "\nmessage: it is over"
	}
	complete := job + "status: {conditions: [{type: Complete, status: \"True\"}]}"
	assert.True(t, status.Gone(object(t, complete), world(t, "")).Ready)
	assert.True(t, status.Of(object(t, strings.Replace(complete, "uid: j", "uid: j, deletionTimestamp: \"2026-11-26T12:00:00Z\", finalizers: [foregroundDeletion]", 1)), world(t, "")).Ready)
	assert.True(t, status.Gone(object(t, job), world(t, event("Completed"))).Ready)

	s := status.Gone(object(t, job+"status: {conditions: [{type: Failed, status: \"True\", reason: BackoffLimitExceeded}]}"), world(t, ""))
	require.Len(t, s.Problems, 1)
	assert.Equal(t, status.Never, s.Problems[0].Heals)
	s = status.Gone(object(t, job), world(t, event("BackoffLimitExceeded")))
	require.Len(t, s.Problems, 1)
	assert.Equal(t, status.Never, s.Problems[0].Heals)

	for _, text := range []string{job, "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nstatus: {conditions: [{type: Complete, status: \"True\"}]}", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}"} {
		s = status.Gone(object(t, text), world(t, ""))
		assert.False(t, s.Ready)
		require.Len(t, s.Problems, 1, text)
		assert.Equal(t, status.Perhaps, s.Problems[0].Heals)
	}
	assert.Empty(t, status.Gone(nil, world(t, "")).Problems)
}

// What is being deleted does not count as there, of whatever kind.
func TestTerminating(t *testing.T) {
	o := object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sticky, deletionTimestamp: \"2026-11-26T12:00:00Z\", finalizers: [a.example/never]}")
	assert.True(t, status.Watched(o))
	s := status.Of(o, world(t, ""))
	assert.False(t, s.Ready)
	require.Len(t, s.Problems, 1)
	assert.Contains(t, s.Problems[0].Message, "waits for its finalizers: a.example/never")
	assert.Equal(t, status.Perhaps, s.Problems[0].Heals)
}

func TestClaims(t *testing.T) {
	claim := func(spec string) string {
		return "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, uid: c}\nspec: {" + spec + "}\nstatus: {phase: Pending}"
	}
	event := func(reason, message string) string {
		return "apiVersion: v1\nkind: Event\nmetadata: {uid: e}\ninvolvedObject: {uid: c}\nreason: " + reason + "\nmessage: '" + message + "'"
	}
	checkKinds(t, map[string]one{
		"no such class":              {object: claim("storageClassName: gold"), reason: "Pending", says: `there is no StorageClass "gold" in the cluster`, heals: status.Perhaps, grace: 3 * time.Second},
		"no class":                   {object: claim(""), around: event("FailedBinding", "no persistent volumes available for this claim and no storage class is set"), reason: "FailedBinding", says: "set storageClassName", heals: status.Perhaps, grace: 3 * time.Second},
		"late binding, by its event": {object: claim("storageClassName: late"), around: event("WaitForFirstConsumer", "waiting for first consumer to be created before binding"), ready: true, message: "binds when a pod uses it"},
	}, nil)
	checkKinds(t, map[string]one{
		"late binding": {object: claim("storageClassName: late"), ready: true, message: "binds when a pod uses it"},
	}, func(w *status.World) {
		w.Find = found(t, "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: late}, volumeBindingMode: WaitForFirstConsumer}")
	})
	checkKinds(t, map[string]one{
		"no such class, by its event": {object: claim("storageClassName: gold"), around: event("ProvisioningFailed", `storageclass.storage.k8s.io "gold" not found`), reason: "ProvisioningFailed", says: `there is no StorageClass "gold"`, heals: status.Perhaps, grace: 3 * time.Second},
	}, func(w *status.World) { w.Find = nil })
}

func TestCustomResources(t *testing.T) {
	thing := func(generation, conditions string) string {
		return "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, uid: c, generation: " + generation + "}\nstatus: {conditions: [" + conditions + "]}"
	}
	checkKinds(t, map[string]one{
		"creating":    {object: thing("1", `{type: Ready, status: "False", reason: Creating}`), message: "not Ready yet", reason: "Creating", heals: status.Expected, grace: time.Hour},
		"unknown":     {object: thing("1", `{type: Ready, status: Unknown, reason: x}`), message: "not Ready yet", reason: "x", heals: status.Expected, grace: time.Hour},
		"task failed": {object: thing("1", `{type: Succeeded, status: "False", reason: Failed, message: step one failed}`), message: "not Succeeded", reason: "Failed", says: "step one failed", heals: status.Never},
		"not ready":   {object: thing("1", `{type: Ready, status: "False", reason: Odd}`), message: "not Ready yet", reason: "Odd", heals: status.Perhaps, grace: 5 * time.Minute},
	}, nil)
	before := func(conditions string) func(*status.World) {
		return func(w *status.World) {
			w.Before = &status.Baseline{Objects: map[types.UID]*unstructured.Unstructured{"c": object(t, thing("1", conditions))}}
		}
	}
	checkKinds(t, map[string]one{
		"ready before the change": {object: thing("2", `{type: Ready, status: "True"}`), message: "not Ready yet", reason: "NotObserved", says: "as it was before the change", heals: status.Forgiven, grace: 10 * time.Second},
		"not changed":             {object: thing("1", `{type: Ready, status: "True"}`), ready: true},
	}, before(`{type: Ready, status: "True"}`))
	checkKinds(t, map[string]one{
		"failed before the change": {object: thing("2", `{type: Ready, status: "False", reason: Bad, severity: Error}`), message: "not Ready yet", reason: "Bad", heals: status.Perhaps, grace: 5 * time.Minute},
	}, before(`{type: Ready, status: "False", reason: Bad, severity: Error}`))
}

// A Deployment that an autoscaler scales up during the wait is ready with the pods that it was applied with. One that is
// scaled down has no more.
func TestScaledDuringTheWait(t *testing.T) {
	deployment := func(replicas, available string) *unstructured.Unstructured {
		return object(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, uid: d}\nspec: {replicas: "+replicas+"}\nstatus: {replicas: "+replicas+", updatedReplicas: "+replicas+", availableReplicas: "+available+"}")
	}
	w := world(t, "")
	assert.False(t, status.Of(deployment("10", "2"), w).Ready)
	w.Applied = map[types.UID]*unstructured.Unstructured{"d": deployment("2", "0")}
	assert.True(t, status.Of(deployment("10", "2"), w).Ready)
	assert.False(t, status.Of(deployment("10", "1"), w).Ready)
	w.Applied = map[types.UID]*unstructured.Unstructured{"d": deployment("5", "0")}
	assert.True(t, status.Of(deployment("2", "2"), w).Ready)
}

// No load and no lack of metrics fails a deploy of an app that runs.
func TestAutoscalerAtItsMaximum(t *testing.T) {
	checkKinds(t, map[string]one{
		"at maxReplicas": {object: `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, status: {currentReplicas: 5, desiredReplicas: 5, conditions: [{type: AbleToScale, status: "True"}, {type: ScalingActive, status: "True"}, {type: ScalingLimited, status: "True", reason: TooManyReplicas}]}}`, ready: true},
	}, nil)
}

func TestHoldsOthers(t *testing.T) {
	for text, want := range map[string]bool{
		"apiVersion: apps/v1\nkind: Deployment":                     true,
		"apiVersion: batch/v1\nkind: Job":                           true,
		"apiVersion: v1\nkind: Pod":                                 true,
		"apiVersion: postgresql.cnpg.io/v1\nkind: Cluster":          true,
		"apiVersion: v1\nkind: Service":                             false,
		"apiVersion: v1\nkind: PersistentVolumeClaim":               false,
		"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute": false,
		"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler": false,
	} {
		assert.Equal(t, want, status.HoldsOthers(object(t, text).GroupVersionKind().GroupKind()), text)
	}
}
