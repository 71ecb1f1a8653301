package status_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/kube/status"
)

// The condition Available is True all the time: the pods of the version before are.
func TestArgoRollouts(t *testing.T) {
	available := "conditions: [{type: Available, status: \"True\"}]"
	for name, test := range map[string]struct {
		spec, status string
		ready        bool
		heals        status.Healing
	}{
		"no controller":   {"", "", false, status.Perhaps},
		"not seen":        {"", `observedGeneration: "2", phase: Healthy, ` + available, false, status.Perhaps},
		"half way":        {"", `observedGeneration: "3", phase: Progressing, message: more replicas need to be updated, ` + available, false, status.Expected},
		"degraded":        {"", `observedGeneration: "3", phase: Degraded, message: "ProgressDeadlineExceeded", ` + available, false, status.Never},
		"pause":           {"spec: {strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}}", `observedGeneration: "3", phase: Paused, currentStepIndex: 1, ` + available, true, 0},
		"pause that ends": {"spec: {strategy: {canary: {steps: [{setWeight: 20}, {pause: {duration: 60}}]}}}", `observedGeneration: "3", phase: Paused, currentStepIndex: 1, ` + available, false, status.Expected},
		"healthy":         {"", `observedGeneration: "3", phase: Healthy, ` + available, true, 0},
	} {
		s := status.Of(object(t, "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: a, generation: 3}\n"+test.spec+"\nstatus: {"+test.status+"}"), world(t, ""))
		assert.Equal(t, test.ready, s.Ready, name)
		if !test.ready {
			require.Len(t, s.Problems, 1, name)
			assert.Equal(t, test.heals, s.Problems[0].Heals, name)
		}
	}
}
