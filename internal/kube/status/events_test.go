package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/kube/status"
)

// eventAt is an event of the pod p, or of the StatefulSet s, at a second of a minute.
func eventAt(second, uid, reason, message string) string {
	return "\n---\napiVersion: v1\nkind: Event\nmetadata: {uid: e-" + reason + second + "}\ninvolvedObject: {uid: " + uid + "}\nlastTimestamp: \"2026-11-26T12:00:" + second + "Z\"\nreason: " + reason + "\nmessage: '" + message + "'\n"
}

// Nobody takes an event back once its reason is gone: what the object has done since tells.
func TestEventsThatAreOver(t *testing.T) {
	const (
		creating     = "  containerStatuses: [{name: web, state: {waiting: {reason: ContainerCreating}}}]"
		setUp        = "  conditions: [{type: PodReadyToStartContainers, status: \"True\"}]\n" + creating
		initializing = `  initContainerStatuses: [{name: migrate, state: {running: {startedAt: "2026-11-26T12:00:03Z"}}}]
  containerStatuses: [{name: web, state: {waiting: {reason: PodInitializing}}}]`
		backingOff = `  containerStatuses: [{name: web, image: "r/x:1", state: {waiting: {reason: ImagePullBackOff, message: Back-off}}}]`
	)
	withInit := plainSpec + "\n  initContainers: [{name: migrate}]"
	mount := eventAt("02", "p", "FailedMount", `MountVolume.SetUp failed for volume "n" : mount failed: exit status 32 Output: mount.nfs: access denied by server`)
	network := eventAt("02", "p", "FailedCreatePodSandBox", "no IP addresses available")
	pull := func(second, answer string) string {
		return eventAt(second, "p", "Failed", `Failed to pull image "r/x:1": `+answer)
	}
	for name, test := range map[string]struct {
		pods         string
		reason, says string
		heals        status.Healing
	}{
		"mount":                         {onNode(plainSpec, creating) + mount, "FailedMount", "access denied", status.Perhaps},
		"mount, init container runs":    {onNode(withInit, initializing) + mount, "Initializing", "init container migrate (1 of 1) is running", status.Expected},
		"mount, set up":                 {onNode(plainSpec, setUp) + mount, "ContainerCreating", "its containers are being created", status.Expected},
		"mount, image pulled":           {onNode(plainSpec, creating) + eventAt("04", "p", "Pulled", `Successfully pulled image "r/x:1"`) + mount, "ContainerCreating", "its containers are being created", status.Expected},
		"mount after an image":          {onNode(plainSpec, creating) + eventAt("01", "p", "Pulled", `Successfully pulled image "r/x:1"`) + mount, "FailedMount", "access denied", status.Perhaps},
		"mount, image that is missing":  {onNode(plainSpec, strings.Replace(backingOff, "Back-off", `"r/x:1: not found"`, 1)) + mount + eventAt("03", "p", "Pulling", `Pulling image "r/x:1"`) + pull("04", "r/x:1: not found"), "ErrImagePull", "does not exist in its registry", status.Never},
		"network":                       {onNode(plainSpec, creating) + network, "FailedCreatePodSandBox", "no IP addresses available", status.Perhaps},
		"network, pulling":              {onNode(plainSpec, creating) + network + eventAt("04", "p", "Pulling", `Pulling image "r/x:1"`), "ContainerCreating", "the node pulls the image r/x:1", status.Expected},
		"network, set up":               {onNode(plainSpec, setUp) + network, "ContainerCreating", "its containers are being created", status.Expected},
		"pull, last answer listed last": {onNode(plainSpec, backingOff) + pull("02", "r/x:1: not found") + pull("09", "dial tcp: i/o timeout"), "ErrImagePull", "cannot be pulled right now", status.Perhaps},
		"pull, first answer listed last": {onNode(plainSpec, backingOff) + pull("09", "dial tcp: i/o timeout") + pull("02", "r/x:1: not found"), "ErrImagePull", "cannot be pulled right now",
			status.Perhaps},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, test.pods)
			w.Find = found(t, node1)
			s := status.Of(object(t, rollingOut), w)
			require.Len(t, s.Problems, 1, "%+v", s.Problems)
			p := s.Problems[0]
			assert.Equal(t, test.reason, p.Reason)
			assert.Contains(t, p.Message, test.says)
			assert.Equal(t, test.heals, p.Heals)
		})
	}
}

// The pods of a StatefulSet come one after the other, so that one is missing long after the first could be made.
func TestPodsThatWereMadeAfterARefusal(t *testing.T) {
	const set = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db, namespace: shop, uid: s}\nspec: {replicas: 3}\nstatus: {currentRevision: two, updateRevision: two, replicas: 1}"
	pod := func(name, second string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: shop, uid: " + name + ", creationTimestamp: \"2026-11-26T12:00:" + second + "Z\", labels: {controller-revision-hash: two}, ownerReferences: [{uid: s, kind: StatefulSet}]}\n" +
			"spec: {nodeName: node-1, containers: [{name: db}]}\nstatus: {phase: Pending, containerStatuses: [{name: db, state: {waiting: {reason: ContainerCreating}}}]}"
	}
	refused := func(name string) string {
		return eventAt("05", "s", "FailedCreate", `create Pod `+name+` in StatefulSet db failed error: pods "`+name+`" is forbidden: exceeded quota: pods, requested: pods=1`)
	}
	made := one{object: set, reason: "ContainerCreating", says: "its containers are being created", heals: status.Expected}
	refusal := one{object: set, reason: "FailedCreate", says: "quota allows no further pod", heals: status.Perhaps, grace: 2 * time.Second}
	with := func(want one, around string) one { want.around = around; return want }
	checkKinds(t, map[string]one{
		"none made":                   with(refusal, refused("db-0")),
		"made in the same second":     with(made, pod("db-0", "05")+refused("db-0")),
		"a later one":                 with(made, pod("db-0", "06")+refused("db-1")),
		"one of before":               with(refusal, pod("db-0", "04")+refused("db-1")),
		"the controller says so":      with(one{object: set}, refused("db-0")+eventAt("07", "s", "SuccessfulCreate", "create Pod db-0 in StatefulSet db successful")),
		"it was made before, at most": with(refusal, refused("db-1")+eventAt("04", "s", "SuccessfulCreate", "create Pod db-0 in StatefulSet db successful")),
	}, nil)
}
