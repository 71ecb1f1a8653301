package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/kube/status"
)

// found answers World.Find with the objects that are given, and knows that there are no others.
func found(t *testing.T, documents ...string) func(schema.GroupVersionKind, string, string) (*unstructured.Unstructured, bool) {
	t.Helper()
	return func(kind schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, bool) {
		for _, document := range documents {
			o := object(t, document)
			if o.GroupVersionKind() == kind && o.GetNamespace() == namespace && o.GetName() == name {
				return o, true
			}
		}
		return nil, true
	}
}

// onNode is a pod that the newest ReplicaSet of a Deployment has made, on a node.
func onNode(spec, podStatus string) string {
	return around + `apiVersion: v1
kind: Pod
metadata: {name: web-new-1, namespace: shop, uid: p, ownerReferences: [{uid: r2, kind: ReplicaSet}]}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 30
` + spec + "\nstatus:\n  phase: Pending\n" + podStatus
}

func podEvent(reason, message string) string {
	return "\n---\napiVersion: v1\nkind: Event\nmetadata: {uid: e-" + reason + "}\ninvolvedObject: {uid: p}\nreason: " + reason + "\nmessage: '" + message + "'\n"
}

const (
	plainSpec = "  containers: [{name: web}]"
	node1     = `{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {nodeInfo: {operatingSystem: linux, architecture: amd64}, conditions: [{type: Ready, status: "True"}]}}`
	deadNode  = `{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {conditions: [{type: Ready, status: Unknown, message: Kubelet stopped posting node status.}]}}`
	leaving   = `
---
apiVersion: v1
kind: Pod
metadata: {name: web-old-9, namespace: shop, uid: old, deletionTimestamp: "2026-11-26T12:00:30Z", ownerReferences: [{uid: r1}]}
`
)

// Each pod that is not ready has a reason, and each reason an end.
func TestEveryUnreadyPodHasAReason(t *testing.T) {
	for name, test := range map[string]struct {
		pods   string
		nodes  string
		reason string
		says   string
		heals  status.Healing
		grace  time.Duration
	}{
		"scheduler that is not there": {
			pods:   onNodeless("  schedulerName: nobody", ""),
			reason: "NotScheduled", says: "no scheduler named nobody has looked at the pod", heals: status.Perhaps, grace: 30 * time.Second,
		},
		"scheduler that is slow": {
			pods:   onNodeless("", ""),
			reason: "NotScheduled", says: "the scheduler has not looked at the pod yet", heals: status.Perhaps, grace: 5 * time.Minute,
		},
		"scheduling gate": {
			pods:   onNodeless("  schedulingGates: [{name: example.com/wait}]", `  conditions: [{type: PodScheduled, status: "False", reason: SchedulingGated}]`),
			reason: "SchedulingGated", says: "the pod is gated by example.com/wait", heals: status.Perhaps, grace: 5 * time.Minute,
		},
		"runtime that the node does not have": {
			pods:   onNode("  runtimeClassName: gvisor\n"+plainSpec, `  containerStatuses: [{name: web, state: {waiting: {reason: ContainerCreating}}}]`) + podEvent("FailedCreatePodSandBox", `Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime: no runtime for "runsc" is configured`),
			reason: "FailedCreatePodSandBox", says: `node node-1 does not have the container runtime of RuntimeClass "gvisor"`, heals: status.Perhaps, grace: 3 * time.Second,
		},
		"readiness gate": {
			pods: onNode(plainSpec+"\n  readinessGates: [{conditionType: example.com/lb}]",
				`  containerStatuses: [{name: web, ready: true, state: {running: {}}}]`),
			reason: "ReadinessGate", says: "readiness gate example.com/lb is not set", heals: status.Perhaps, grace: 5 * time.Minute,
		},
		"readiness gate that says no": {
			pods: onNode(plainSpec+"\n  readinessGates: [{conditionType: example.com/lb}]",
				"  conditions: [{type: example.com/lb, status: \"False\", reason: NoTarget, message: no such target}]\n  containerStatuses: [{name: web, ready: true, state: {running: {}}}]"),
			reason: "ReadinessGate", says: "readiness gate example.com/lb is False: NoTarget: no such target", heals: status.Perhaps, grace: 5 * time.Minute,
		},
		"init container": {
			pods: onNode(plainSpec+"\n  initContainers: [{name: first}, {name: wait-for-db}]", `  initContainerStatuses:
  - {name: first, ready: true, state: {terminated: {exitCode: 0}}}
  - {name: wait-for-db, state: {running: {startedAt: "2026-11-26T12:00:00Z"}}}
  containerStatuses: [{name: web, state: {waiting: {reason: PodInitializing}}}]`),
			reason: "Initializing", says: "init container wait-for-db (2 of 2) is running", heals: status.Expected,
		},
		"sidecar that starts": {
			pods: onNode(plainSpec+"\n  initContainers: [{name: proxy, restartPolicy: Always, startupProbe: {periodSeconds: 2, failureThreshold: 5, httpGet: {path: /up, port: 80}}}]", `  initContainerStatuses:
  - {name: proxy, started: false, state: {running: {startedAt: "2026-11-26T12:00:00Z"}}}
  containerStatuses: [{name: web, state: {waiting: {reason: PodInitializing}}}]`),
			reason: "NotReady", says: "its startup probe (HTTP GET /up on port 80) has not succeeded since 12:00:00 UTC", heals: status.Perhaps, grace: 10 * time.Second,
		},
		"not ready, and nobody knows since when it started up": {
			pods: onNode("  containers: [{name: web, startupProbe: {periodSeconds: 2, failureThreshold: 30}, readinessProbe: {periodSeconds: 2, failureThreshold: 5, exec: {command: [cat, /ok]}}}]",
				`  containerStatuses: [{name: web, started: true, state: {running: {startedAt: "2026-11-26T12:00:00Z"}}}]`),
			reason: "NotReady", says: "its readiness probe (exec cat /ok) has not succeeded since 12:00:00 UTC", heals: status.Perhaps, grace: 70 * time.Second,
		},
		"not ready after it started up": {
			pods: onNode("  containers: [{name: web, startupProbe: {periodSeconds: 2, failureThreshold: 30}, readinessProbe: {periodSeconds: 2, failureThreshold: 5, exec: {command: [cat, /ok]}}}]",
				`  containerStatuses: [{name: web, started: true, state: {running: {startedAt: "2026-11-26T12:00:00Z"}}}]`+
					podEvent("Unhealthy", "Readiness probe failed: no")+"firstTimestamp: \"2026-11-26T12:00:20Z\"\nlastTimestamp: \"2026-11-26T12:00:22Z\"\n"),
			reason: "NotReady", says: "Readiness probe failed: no (not ready since 12:00:20 UTC", heals: status.Perhaps, grace: 10 * time.Second,
		},
		"nothing listens yet": {
			pods: onNode("  containers: [{name: web, readinessProbe: {periodSeconds: 1, failureThreshold: 3, tcpSocket: {port: 80}}}]",
				starting+podEvent("Unhealthy", "Readiness probe failed: dial tcp 10.0.0.7:80: connect: connection refused")),
			reason: "NotReady", says: "connection refused (not ready since 12:00:00 UTC; it may take 30s", heals: status.Perhaps, grace: 30 * time.Second,
		},
		"nothing listens yet, and its liveness probe waits longer": {
			pods:   onNode("  containers: [{name: web, readinessProbe: {periodSeconds: 1, httpGet: {path: /, port: 80}}, livenessProbe: {initialDelaySeconds: 120}}]", starting),
			reason: "NotReady", says: "has not succeeded since 12:00:00 UTC", heals: status.Perhaps, grace: 150 * time.Second,
		},
		"a database that starts": {
			pods: onNode("  containers: [{name: web, readinessProbe: {periodSeconds: 2, exec: {command: [pg_isready]}}}]",
				starting+podEvent("Unhealthy", "Readiness probe failed: /run/postgresql:5432 - no response")),
			reason: "NotReady", says: "no response", heals: status.Perhaps, grace: 30 * time.Second,
		},
		"it answers that it is not ready": {
			pods: onNode("  containers: [{name: web, readinessProbe: {periodSeconds: 1, failureThreshold: 3, httpGet: {path: /, port: 80}}, livenessProbe: {initialDelaySeconds: 120}}]",
				starting+podEvent("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")),
			reason: "NotReady", says: "statuscode: 503 (not ready since 12:00:00 UTC; it may take 3s", heals: status.Perhaps, grace: 3 * time.Second,
		},
		"not ready any more": {
			pods: onNode("  containers: [{name: web, readinessProbe: {periodSeconds: 1, failureThreshold: 3, tcpSocket: {port: 80}}}]",
				"  conditions: [{type: ContainersReady, status: \"False\", lastTransitionTime: \"2026-11-26T12:00:06Z\"}]\n"+starting),
			reason: "NotReady", says: "has not succeeded since 12:00:06 UTC", heals: status.Perhaps, grace: 3 * time.Second,
		},
		"sidecar that runs": {
			pods: onNode(plainSpec+"\n  initContainers: [{name: proxy, restartPolicy: Always}]", `  initContainerStatuses:
  - {name: proxy, started: true, ready: true, state: {running: {}}}
  containerStatuses: [{name: web, state: {waiting: {reason: PodInitializing}}}]`),
			reason: "ContainerCreating", says: "its containers are being created", heals: status.Expected,
		},
		"pull": {
			pods:   onNode(plainSpec, `  containerStatuses: [{name: web, state: {waiting: {reason: ContainerCreating}}}]`+podEvent("Pulling", `Pulling image "r/x:1"`)),
			reason: "ContainerCreating", says: "the node pulls the image r/x:1", heals: status.Expected,
		},
		"volumes": {
			pods: onNode(plainSpec+"\n  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]",
				"  conditions: [{type: PodReadyToStartContainers, status: \"False\"}]\n  containerStatuses: [{name: web, state: {waiting: {reason: ContainerCreating}}}]"),
			reason: "ContainerCreating", says: "its network and volumes are being set up (PersistentVolumeClaim/data)", heals: status.Expected,
		},
		"network": {
			pods:   onNode(plainSpec, `  containerStatuses: [{name: web, state: {waiting: {reason: ContainerCreating}}}]`+podEvent("FailedCreatePodSandBox", `failed to allocate for range 0: no IP addresses available`)),
			reason: "FailedCreatePodSandBox", says: "no IP addresses available", heals: status.Perhaps, grace: 5 * time.Minute,
		},
		"node that has not taken it": {
			pods:   onNode(plainSpec, ""),
			reason: "NotStarted", says: "the kubelet of node node-1 has not started the pod yet", heals: status.Expected,
		},
		"node that does not answer": {
			pods:   onNode(plainSpec, `  containerStatuses: [{name: web, ready: true, state: {running: {}}}]`),
			nodes:  deadNode,
			reason: "NodeNotReady", says: "node node-1 is not ready: Kubelet stopped posting", heals: status.Expected,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, test.pods)
			w.Find = found(t, node1)
			if test.nodes != "" {
				w.Find = found(t, test.nodes)
			}
			s := status.Of(object(t, rollingOut), w)
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

// onNodeless is onNode before a scheduler has chosen one.
func onNodeless(spec, podStatus string) string {
	return strings.Replace(onNode(plainSpec+"\n"+spec, podStatus), "  nodeName: node-1\n", "", 1)
}

// What a leaving pod still holds heals; the same without one does not.
func TestWhatLeavingPodsHold(t *testing.T) {
	unschedulable := func(message string) string {
		return onNodeless("", `  conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "`+message+`"}]`)
	}
	for name, test := range map[string]struct{ pods, says string }{
		"port":           {unschedulable("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."), "free ports"},
		"cpu":            {unschedulable("0/1 nodes are available: 1 Insufficient cpu."), "Insufficient cpu"},
		"number of pods": {unschedulable("0/1 nodes are available: 1 Too many pods."), "Too many pods"},
		"claim of one pod": {unschedulable("0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode."),
			"ReadWriteOncePod"},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, test.pods+leaving)
			w.Autoscaler = status.Absent
			p := status.Of(object(t, rollingOut), w).Problems[0]
			assert.Equal(t, status.Expected, p.Heals)
			assert.Contains(t, p.Message, test.says)
			assert.Contains(t, p.Message, "(pod web-old-9 is still terminating)")
			assert.Positive(t, p.Retry)

			w.Now = time.Date(2026, 11, 26, 12, 5, 0, 0, time.UTC)
			p = status.Of(object(t, rollingOut), w).Problems[0]
			assert.Equal(t, status.Perhaps, p.Heals, "a pod that should have ended minutes ago gives nothing back")

			w = world(t, test.pods)
			w.Autoscaler = status.Absent
			p = status.Of(object(t, rollingOut), w).Problems[0]
			assert.Equal(t, status.Perhaps, p.Heals)
			assert.Equal(t, 2*time.Second, p.Grace)
			assert.True(t, p.Depends, "another workload of the release may make room")

			w.Leaving = func() (int, bool) { return 0, true }
			assert.Equal(t, status.Perhaps, status.Of(object(t, rollingOut), w).Problems[0].Heals)
			w.Leaving = func() (int, bool) { return 3, true }
			p = status.Of(object(t, rollingOut), w).Problems[0]
			assert.Equal(t, status.Expected, p.Heals)
			assert.Equal(t, 2*time.Minute, p.Grace)
			assert.Contains(t, p.Message, "(pods elsewhere that are still terminating: 3)")
		})
	}
	for name, message := range map[string]string{
		"no label": "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
		"larger than each node": "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: " +
			"2 Preemption is not helpful for scheduling.",
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, unschedulable(message)+leaving)
			w.Autoscaler, w.Leaving = status.Absent, func() (int, bool) { return 3, true }
			p := status.Of(object(t, rollingOut), w).Problems[0]
			assert.Equal(t, status.Perhaps, p.Heals)
			assert.Equal(t, 2*time.Second, p.Grace)
			assert.False(t, p.Depends)
		})
	}
	t.Run("larger than one of two nodes", func(t *testing.T) {
		w := world(t, unschedulable("0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: "+
			"1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.")+leaving)
		assert.Equal(t, status.Expected, status.Of(object(t, rollingOut), w).Problems[0].Heals)
	})
	t.Run("claim that is being deleted", func(t *testing.T) {
		w := world(t, unschedulable(`0/1 nodes are available: persistentvolumeclaim \"data\" is being deleted.`)+leaving)
		p := status.Of(object(t, rollingOut), w).Problems[0]
		assert.Equal(t, status.Expected, p.Heals)
		assert.Contains(t, p.Message, `PersistentVolumeClaim "data" is being deleted (pod web-old-9`)
	})
	t.Run("claim that is missing", func(t *testing.T) {
		w := world(t, unschedulable(`0/1 nodes are available: persistentvolumeclaim \"data\" not found.`)+leaving)
		w.Autoscaler, w.Find = status.Present, found(t)
		p := status.Of(object(t, rollingOut), w).Problems[0]
		assert.Equal(t, status.Perhaps, p.Heals)
		assert.Equal(t, 3*time.Second, p.Grace)
		assert.Contains(t, p.Message, `PersistentVolumeClaim "data" is missing`)
	})
	t.Run("claim without a class", func(t *testing.T) {
		w := world(t, onNodeless("  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]", `  conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."}]`))
		w.Find = found(t, `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data, namespace: shop}, spec: {storageClassName: gold}, status: {phase: Pending}}`)
		p := status.Of(object(t, rollingOut), w).Problems[0]
		assert.Contains(t, p.Message, `there is no StorageClass "gold" in the cluster`)
		assert.Equal(t, 3*time.Second, p.Grace)
	})
}

func TestQuota(t *testing.T) {
	const condition = `{observedGeneration: 1, conditions: [{type: ReplicaFailure, status: "True", reason: FailedCreate, message: 'pods "web-1" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2'}]}`
	deploy := func(replicas, maxUnavailable string) string {
		return strings.Replace(strings.Replace(rollingOut, "{replicas: 1}", "{replicas: "+replicas+", strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: "+maxUnavailable+"}}}", 1), "name: web,", "name: web, namespace: shop,", 1)
	}
	sets := func(oldReplicas string) string {
		return `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-old, uid: r1, generation: 1, annotations: {deployment.kubernetes.io/revision: "1"}, ownerReferences: [{uid: d}]}
spec: {replicas: ` + oldReplicas + `}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-new, namespace: shop, uid: r2, generation: 1, annotations: {deployment.kubernetes.io/revision: "2"}, ownerReferences: [{uid: d}]}
spec: {replicas: 1}
status: ` + condition
	}
	for name, test := range map[string]struct {
		deployment, around, says string
		heals                    status.Healing
	}{
		"full":               {deploy("2", "0"), sets("2"), "exceeded quota: pods", status.Never},
		"a pod is leaving":   {deploy("2", "0"), sets("2") + leaving, "(pod web-old-9 is still terminating)", status.Expected},
		"an old pod goes":    {deploy("2", "1"), sets("2"), "(an old pod is about to be ended)", status.Expected},
		"old pods have gone": {deploy("2", "1"), sets("1"), "exceeded quota", status.Never},
		"stale": {deploy("2", "0"), strings.Replace(sets("2"), "uid: r2, generation: 1", "uid: r2, generation: 2", 1),
			"", status.Never},
	} {
		t.Run(name, func(t *testing.T) {
			s := status.Of(object(t, test.deployment), world(t, test.around))
			if test.says == "" {
				assert.Empty(t, s.Problems)
				return
			}
			require.Len(t, s.Problems, 1)
			assert.Contains(t, s.Problems[0].Message, test.says)
			assert.Equal(t, test.heals, s.Problems[0].Heals)
			assert.Positive(t, s.Problems[0].Retry)
		})
	}
}

func TestMounts(t *testing.T) {
	creating := `  containerStatuses: [{name: web, state: {waiting: {reason: ContainerCreating}}}]`
	oldPod := "\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: web-old-2, namespace: shop, uid: o2, ownerReferences: [{uid: r1}]}\nstatus: {phase: Running}"
	for name, test := range map[string]struct {
		pods  string
		find  []string
		says  string
		heals status.Healing
		grace time.Duration
	}{
		"directory that is not there": {onNode(plainSpec, creating+podEvent("FailedMount", `MountVolume.SetUp failed for volume "h" : hostPath type check failed: /nowhere is not a directory`)),
			nil, "the volume cannot be mounted", status.Perhaps, 8 * time.Second},
		"filesystem": {onNode(plainSpec, creating+podEvent("FailedMount", `MountVolume.SetUp failed for volume "n" : mount failed: exit status 32 Mounting command: mount Output: mount: bad option; for several filesystems (e.g. nfs, cifs) you might need a /sbin/mount.nfs helper program.`)),
			nil, "you might need a /sbin/mount.nfs", status.Perhaps, 8 * time.Second},
		"server that does not answer": {onNode(plainSpec, creating+podEvent("FailedMount", `MountVolume.SetUp failed for volume "n" : mount failed: exit status 32 Output: mount.nfs: Connection timed out`)),
			nil, "timed out", status.Perhaps, 5 * time.Minute},
		"driver that is not installed": {onNode(plainSpec, creating+podEvent("FailedMount", `MountVolume.SetUp failed for volume "c" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name files.example not found in the list of registered CSI drivers`)),
			nil, "the volume cannot be mounted", status.Perhaps, 8 * time.Second},
		"driver that starts": {onNode(plainSpec, creating+podEvent("FailedMount", `driver name files.example not found in the list of registered CSI drivers`)),
			[]string{`{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: files.example}}`}, "files.example", status.Perhaps, 5 * time.Minute},
		"secret": {onNode(plainSpec, creating+podEvent("FailedMount", `MountVolume.SetUp failed for volume "s" : secret "tls" not found`)),
			nil, `Secret "tls" is missing`, status.Perhaps, 3 * time.Second},
		"secret that came": {onNode(plainSpec, creating+podEvent("FailedMount", `MountVolume.SetUp failed for volume "s" : secret "tls" not found`)),
			[]string{`{apiVersion: v1, kind: Secret, metadata: {name: tls, namespace: shop}}`}, `Secret "tls" is there now`, status.Expected, 5 * time.Minute},
		"key vault": {onNode(plainSpec, creating+podEvent("FailedMount", `rpc error: code = Unknown desc = failed to mount secrets store objects for pod shop/web, err: secretproviderclass.secrets-store.csi.x-k8s.io "vault" not found`)),
			nil, `SecretProviderClass "vault" is missing`, status.Perhaps, 3 * time.Second},
		"disk of a pod that is kept": {onNode(plainSpec, creating+podEvent("FailedAttachVolume", `Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) web-old-2`)) + oldPod,
			nil, "wants strategy.type Recreate", status.Never, 0},
		"disk of a pod that leaves": {onNode(plainSpec, creating+podEvent("FailedAttachVolume", `Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) web-old-9`)) + leaving,
			nil, "still attached to another node (pod web-old-9", status.Expected, 0},
		"disk of somebody": {onNode(plainSpec, creating+podEvent("FailedAttachVolume", `Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node`)),
			nil, "Multi-Attach", status.Perhaps, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, test.pods)
			w.Find = found(t, append(test.find, node1)...)
			s := status.Of(object(t, rollingOut), w)
			require.Len(t, s.Problems, 1, "%+v", s.Problems)
			assert.Contains(t, s.Problems[0].Message, test.says)
			assert.Equal(t, test.heals, s.Problems[0].Heals)
			assert.Equal(t, test.grace, s.Problems[0].Grace)
		})
	}
}

// What admission puts into a pod, a controller makes: in a new namespace it may come after the pod.
func TestMadeByTheCluster(t *testing.T) {
	const (
		creating = `  containerStatuses: [{name: web, ready: false, state: {waiting: {reason: ContainerCreating}}}]`
		mesh     = `configmap "istio-ca-root-cert" not found`
		release  = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {template: {spec: {containers: [{name: web}]}}}}`
		sidecar  = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {template: {spec: {volumes: [{name: ca, configMap: {name: istio-ca-root-cert}}]}}}}`
	)
	account := `{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}, imagePullSecrets: [{name: regcred}]}`
	for name, test := range map[string]struct {
		message string
		release []string
		says    string
		grace   time.Duration
	}{
		"authority":                    {`configmap "kube-root-ca.crt" not found`, []string{release}, `ConfigMap "kube-root-ca.crt" is missing: kube-controller-manager should make it`, 2 * time.Minute},
		"authority, unknown release":   {`configmap "kube-root-ca.crt" not found`, nil, "kube-controller-manager should make it", 2 * time.Minute},
		"added by admission":           {mesh, []string{release}, `ConfigMap "istio-ca-root-cert" is missing: a controller of the cluster, since no manifest names it, should make it`, 2 * time.Minute},
		"named by the release":         {mesh, []string{release, sidecar}, "create it, or add it to the manifests", 3 * time.Second},
		"named outside of a spec":      {`secret "regcred" not found`, []string{release, account}, "create it, or add it to the manifests", 3 * time.Second},
		"unknown release":              {mesh, nil, "create it, or add it to the manifests", 3 * time.Second},
		"key of what a webhook mounts": {"references non-existent config key: root.pem", []string{release}, "create it, or add it to the manifests", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, onNode(plainSpec, creating+podEvent("FailedMount", `MountVolume.SetUp failed for volume "v" : `+test.message)))
			w.Find = found(t, node1)
			for _, o := range test.release {
				w.Release = append(w.Release, object(t, o))
			}
			s := status.Of(object(t, rollingOut), w)
			require.Len(t, s.Problems, 1, "%+v", s.Problems)
			assert.Contains(t, s.Problems[0].Message, test.says)
			assert.Equal(t, status.Perhaps, s.Problems[0].Heals)
			assert.Equal(t, test.grace, s.Problems[0].Grace)
		})
	}
}

func TestPulls(t *testing.T) {
	waiting := func(message string) string {
		return onNode(plainSpec+"\n  imagePullSecrets: [{name: regcred}]", `  containerStatuses: [{name: web, image: "r/x:1", state: {waiting: {reason: ErrImagePull, message: 'failed to pull and unpack image "r/x:1": `+message+`'}}}]`)
	}
	const secret = `{apiVersion: v1, kind: Secret, metadata: {name: regcred, namespace: shop}}`
	without := podEvent("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.")
	external := `{apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: registry, namespace: shop}, spec: {target: {name: regcred}}}`
	for name, test := range map[string]struct {
		pods      string
		find      []string
		release   string
		published bool
		says      string
		heals     status.Healing
		grace     time.Duration
	}{
		"wrong platform":    {pods: waiting(`no match for platform in manifest: not found`), says: "the image r/x:1 exists, but has no variant for linux/amd64, the platform of node node-1"},
		"not there":         {pods: waiting(`r/x:1: not found`), says: "does not exist in its registry"},
		"published":         {pods: waiting(`r/x:1: not found`), published: true, says: "the registry has the image", heals: status.Perhaps, grace: 5 * time.Minute},
		"refused":           {pods: waiting(`401 Unauthorized`), find: []string{secret}, says: "the registry refuses the image"},
		"secret missing":    {pods: waiting(`401 Unauthorized`) + without, says: `Secret "regcred", which the pod names as a pull secret, is missing`, heals: status.Perhaps, grace: 3 * time.Second},
		"secret on its way": {pods: waiting(`401 Unauthorized`) + without, release: external, says: "ExternalSecret/registry should make it", heals: status.Perhaps, grace: 2 * time.Minute},
		"secret came":       {pods: waiting(`401 Unauthorized`) + without, find: []string{secret}, says: "is there now", heals: status.Expected, grace: 5 * time.Minute},
		"secret came and is refused": {pods: waiting(`401 Unauthorized`) + strings.Replace(without, "kind: Event", "kind: Event\nlastTimestamp: \"2026-11-26T12:00:00Z\"", 1) +
			strings.Replace(podEvent("Failed", "Error: ErrImagePull"), "kind: Event", "kind: Event\nlastTimestamp: \"2026-11-26T12:00:11Z\"", 1), find: []string{secret}, says: "the registry refuses the image"},
		"host that is not":    {pods: waiting(`dial tcp: lookup registry.example on 10.0.0.10:53: no such host`), says: "the node does not know the registry", heals: status.Perhaps, grace: 5 * time.Second},
		"nothing that serves": {pods: waiting(`dial tcp 10.1.2.3:443: connect: connection refused`), says: "nothing answers at the registry", heals: status.Perhaps, grace: 15 * time.Second},
		"overloaded":          {pods: waiting(`unexpected status from HEAD request: 503 Service Unavailable`), says: "cannot be pulled right now", heals: status.Perhaps, grace: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, test.pods)
			w.Find = found(t, append(test.find, node1)...)
			w.Published = map[string]bool{"r/x:1": test.published}
			if test.release != "" {
				w.Release = []*unstructured.Unstructured{object(t, test.release)}
			}
			s := status.Of(object(t, rollingOut), w)
			require.Len(t, s.Problems, 1, "%+v", s.Problems)
			assert.Contains(t, s.Problems[0].Message, test.says)
			assert.Equal(t, test.heals, s.Problems[0].Heals)
			assert.Equal(t, test.grace, s.Problems[0].Grace)
		})
	}
}

func TestEnds(t *testing.T) {
	const limited = "  containers: [{name: web, resources: {limits: {memory: 64Mi}}, livenessProbe: {periodSeconds: 1, failureThreshold: 3, httpGet: {path: /healthz, port: 8080}}}]"
	event := func(reason, message string) string {
		return strings.Replace(podEvent(reason, message), "{uid: p}", "{uid: p, fieldPath: 'spec.containers{web}'}", 1)
	}
	killed := `  containerStatuses: [{name: web, restartCount: 1, state: {running: {}}, lastState: {terminated: {exitCode: 137, reason: Error, startedAt: "2026-11-26T12:00:00Z", finishedAt: "2026-11-26T12:00:04Z"}}}]`
	for name, test := range map[string]struct {
		pods    string
		says    string
		reason  string
		heals   status.Healing
		depends bool
	}{
		"out of memory": {onNode(limited, `  containerStatuses: [{name: web, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}}]`),
			"more memory than its limit of 64Mi (exit code 137), 2 times", "CrashLoopBackOff", status.Never, false},
		"killed by a probe": {onNode(limited, killed) + event("Killing", "Container web failed liveness probe, will be restarted") + event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 503"),
			"its liveness probe failed, and the kubelet kills it: Liveness probe failed: HTTP probe failed with statuscode: 503", "KilledByProbe", status.Perhaps, true},
		"killed again": {onNode(limited, killed) + strings.Replace(event("Killing", "Container web failed liveness probe, will be restarted"), "kind: Event", "kind: Event\ncount: 2", 1),
			"its liveness probe failed", "KilledByProbe", status.Never, true},
		"probe of what is not there": {onNode(limited, killed) + event("Killing", "Container web failed liveness probe, will be restarted") + event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 404"),
			"statuscode: 404", "KilledByProbe", status.Never, false},
		"being killed": {onNode(limited, `  containerStatuses: [{name: web, state: {running: {}}}]`) + event("Killing", "Container web failed liveness probe, will be restarted") + event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 404"),
			"statuscode: 404", "KilledByProbe", status.Never, false},
		"killed, without events": {onNode(limited, killed),
			"it was killed (exit code 137) 4s after its start, as a failed liveness probe (HTTP GET /healthz on port 8080) does", "KilledByProbe", status.Perhaps, true},
		"killed early, without events": {onNode(limited, strings.Replace(killed, "12:00:04Z", "12:00:01Z", 1)),
			"it ended with exit code 137 (signal 9), once so far", "Crashed", status.Perhaps, true},
		"no such program": {onNode(plainSpec, `  containerStatuses: [{name: web, restartCount: 0, state: {terminated: {exitCode: 128, reason: StartError, message: 'exec: "srv": executable file not found in $PATH: unknown'}}}]`),
			`it cannot be started: exec: "srv": executable file not found`, "CrashLoopBackOff", status.Never, false},
		"program of another platform": {onNode(plainSpec, `  containerStatuses: [{name: web, restartCount: 0, state: {terminated: {exitCode: 128, reason: StartError, message: 'exec /srv: exec format error'}}}]`),
			"its program is not one for linux/amd64, the platform of node node-1 (exec format error)", "CrashLoopBackOff", status.Never, false},
		"with last words": {onNode(plainSpec, `  containerStatuses: [{name: web, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 2, reason: Error, message: "/etc/app.yaml:\n unknown key prot\n"}}}]`),
			"it ended with exit code 2, 2 times: /etc/app.yaml: unknown key prot", "CrashLoopBackOff", status.Never, true},
		"cannot be created": {onNode(plainSpec, `  containerStatuses: [{name: web, state: {waiting: {reason: RunContainerError, message: 'exec: "srv": permission denied'}}}]`),
			"permission denied", "RunContainerError", status.Never, false},
		"beside one that starts": {onNode("  containers: [{name: web}, {name: proxy}]", `  containerStatuses: [{name: web, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1}}}, {name: proxy, ready: false, state: {waiting: {reason: ContainerCreating}}}]`),
			"exit code 1, 2 times", "CrashLoopBackOff", status.Expected, true},
		"runs again beside one that starts": {onNode("  containers: [{name: web}, {name: proxy}]", `  containerStatuses: [{name: web, restartCount: 2, state: {running: {}}, lastState: {terminated: {exitCode: 1}}}, {name: proxy, ready: false, state: {running: {}}}]`),
			"exit code 1, 2 times", "CrashLoopBackOff", status.Expected, true},
		"not ready beside one that starts": {onNode("  containers: [{name: web, readinessProbe: {httpGet: {path: /up, port: 80}}}, {name: proxy}]", `  containerStatuses: [{name: web, ready: false, state: {running: {}}}, {name: proxy, ready: false, state: {running: {}}}]`),
			"its readiness probe", "NotReady", status.Perhaps, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, test.pods)
			w.Find = found(t, node1)
			s := status.Of(object(t, rollingOut), w)
			require.NotEmpty(t, s.Problems)
			p := s.Problems[0]
			assert.Equal(t, test.reason, p.Reason)
			assert.Contains(t, p.Message, test.says)
			assert.Equal(t, test.heals, p.Heals)
			assert.Equal(t, test.depends, p.Depends)
		})
	}
}

// The end of the output, which stands in the message by this policy, is shown by itself.
func TestLastWordsThatAreTheOutput(t *testing.T) {
	s := status.Of(object(t, rollingOut), world(t, onNode("  containers: [{name: web, terminationMessagePolicy: FallbackToLogsOnError}]",
		`  containerStatuses: [{name: web, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 2, reason: Error, message: "panic: no"}}}]`)))
	require.NotEmpty(t, s.Problems)
	assert.Equal(t, "it ended with exit code 2, 2 times", s.Problems[0].Message)
}

// A probe of a port that has no such name in its container can never be carried out. A number in quotes is a number.
func TestProbeOfAPortWithoutAName(t *testing.T) {
	for port, heals := range map[string]status.Healing{"http": status.Never, "web": status.Perhaps, `"8080"`: status.Perhaps} {
		for _, action := range []string{"httpGet", "tcpSocket"} {
			s := status.Of(object(t, rollingOut), world(t, onNode("  containers: [{name: web, ports: [{name: web, containerPort: 8080}], readinessProbe: {"+action+": {port: "+port+"}}}]", starting)))
			require.Len(t, s.Problems, 1)
			assert.Equal(t, heals, s.Problems[0].Heals, "%s of %s", action, port)
			if heals == status.Never {
				assert.Contains(t, s.Problems[0].Message, `its readiness probe is for the port "http", and the container has no port of that name`)
			}
		}
	}
}

// starting is a container that has run since 12:00:00 and never was ready.
const starting = `  containerStatuses: [{name: web, started: true, state: {running: {startedAt: "2026-11-26T12:00:00Z"}}}]`

// The kubelet sends 25 events about a pod and then few. The same verdict comes without any.
func TestProbesWithoutEvents(t *testing.T) {
	pods := onNode("  containers: [{name: web, readinessProbe: {periodSeconds: 1, failureThreshold: 3, exec: {command: [cat, /tmp/ok]}}}]",
		"  conditions: [{type: ContainersReady, status: \"False\", lastTransitionTime: \"2026-11-26T12:50:27Z\"}]\n"+
			`  containerStatuses: [{name: web, started: true, ready: false, state: {running: {startedAt: "2026-11-26T12:50:21Z"}}}]`)
	s := status.Of(object(t, rollingOut), world(t, pods))
	require.Len(t, s.Problems, 1)
	assert.Equal(t, "its readiness probe (exec cat /tmp/ok) has not succeeded since 12:50:27 UTC", s.Problems[0].Message)
	assert.Equal(t, status.Perhaps, s.Problems[0].Heals)
	assert.Equal(t, 3*time.Second, s.Problems[0].Grace)
	key := s.Problems[0].Key()

	s = status.Of(object(t, rollingOut), world(t, pods+podEvent("Unhealthy", "Readiness probe failed: cat: /tmp/ok: No such file or directory")))
	require.Len(t, s.Problems, 1)
	assert.Contains(t, s.Problems[0].Message, "Readiness probe failed: cat: /tmp/ok")
	assert.Equal(t, key, s.Problems[0].Key(), "its grace goes on")
	assert.Equal(t, 3*time.Second, s.Problems[0].Grace)

	s = status.Of(object(t, rollingOut), world(t, pods+podEvent("Unhealthy", `Readiness probe errored and resulted in unknown state: rpc error: exec: "curl": executable file not found in $PATH`)))
	assert.Equal(t, status.Never, s.Problems[0].Heals)
}

// Pods that were evicted, and pods of before, prove nothing.
func TestWhatProvesNothing(t *testing.T) {
	running := `  containerStatuses: [{name: web, state: {waiting: {reason: ContainerCreating}}}]`
	evicted := func(name string) string {
		return "\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", uid: " + name + ", ownerReferences: [{uid: r2}]}\nspec: {containers: [{name: web}]}\n" +
			"status: {phase: Failed, reason: Evicted, message: The node was low on resource memory., containerStatuses: [{name: web, restartCount: 3, state: {terminated: {exitCode: 137, reason: Error}}}]}"
	}
	s := status.Of(object(t, rollingOut), world(t, onNode(plainSpec, running)+evicted("web-new-0")))
	require.Len(t, s.Problems, 1)
	assert.Equal(t, "ContainerCreating", s.Problems[0].Reason)

	s = status.Of(object(t, rollingOut), world(t, around+evicted("web-new-0")[len("\n---\n"):]))
	require.Len(t, s.Problems, 1)
	assert.Equal(t, status.Expected, s.Problems[0].Heals)
	assert.Contains(t, s.Problems[0].Message, "low on resource memory")

	s = status.Of(object(t, rollingOut), world(t, onNode(plainSpec, running)+evicted("web-new-0")+evicted("web-new-2")+evicted("web-new-3")))
	require.Len(t, s.Problems, 2)
	assert.Contains(t, s.Problems[0].Message, "3 pods have been ended")
	assert.Equal(t, status.Perhaps, s.Problems[0].Heals)

	crashing := onNode(plainSpec, `  containerStatuses: [{name: web, restartCount: 9, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1}}}]`)
	w := world(t, crashing)
	assert.False(t, status.Of(object(t, rollingOut), w).Problems[0].Stale)
	w.Before = &status.Baseline{Pods: map[types.UID]bool{"p": true}}
	assert.True(t, status.Of(object(t, rollingOut), w).Problems[0].Stale)
	w.Before.Unchanged = true
	assert.False(t, status.Of(object(t, rollingOut), w).Problems[0].Stale, "nothing on the way heals it")
}
