package kube_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/testing/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// messages collects what is reported.
func messages(ctx context.Context) (context.Context, func() []string) {
	var mu sync.Mutex
	var all []string
	ctx = report.With(ctx, report.SinkFunc(func(e report.Event) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, e.Message)
	}))
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), all...)
	}
}

func TestWarningsOfTheServerAreReportedOnce(t *testing.T) {
	c, client := kubetest.Connect(t)
	kubetest.Namespace(t, client, "warnings")
	ctx, said := messages(t.Context())
	for range 3 {
		_, err := c.Apply(ctx, kubetest.Decode(t, "{apiVersion: v1, kind: Endpoints, metadata: {name: a, namespace: warnings}}"), kube.ApplyOptions{})
		require.NoError(t, err)
	}
	require.Len(t, said(), 1)
	assert.Contains(t, said()[0], "the API server warns: v1 Endpoints is deprecated")
}

func TestLockOfADeadProcessExpires(t *testing.T) {
	c, client := kubetest.Connect(t)
	kubetest.Namespace(t, client, "dead")
	holder, seconds, now := "somebody@elsewhere (ABCDEF)", int32(2), metav1.NowMicro()
	leases := client.CoordinationV1().Leases("dead")
	_, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "aksflow-vote"}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now,
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	ctx, said := messages(t.Context())
	began := time.Now()
	held, unlock, err := c.Lock(ctx, "vote", "dead", "me")
	require.NoError(t, err)
	assert.GreaterOrEqual(t, time.Since(began), 2*time.Second)
	assert.Equal(t, []string{"vote is being deployed by somebody@elsewhere (ABCDEF): waiting until that is done"}, said())

	lease, err := leases.Get(ctx, "aksflow-vote", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Regexp(t, `^me \(\w+\)$`, *lease.Spec.HolderIdentity)
	assert.EqualValues(t, 16, *lease.Spec.LeaseDurationSeconds, "the time that others wait after a crash")
	unlock()
	assert.Error(t, held.Err())
	lease, err = leases.Get(ctx, "aksflow-vote", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Empty(t, *lease.Spec.HolderIdentity)
}

func TestLosingTheLockStopsWrites(t *testing.T) {
	c, client := kubetest.Connect(t)
	kubetest.Namespace(t, client, "lost")
	held, unlock, err := c.Lock(t.Context(), "vote", "lost", "me")
	require.NoError(t, err)
	defer unlock()
	settings := kubetest.Decode(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: lost}}")
	_, err = c.Apply(held, settings, kube.ApplyOptions{})
	require.NoError(t, err)

	leases := client.CoordinationV1().Leases("lost")
	require.Eventually(t, func() bool { // the holder renews it at the same time
		lease, err := leases.Get(t.Context(), "aksflow-vote", metav1.GetOptions{})
		require.NoError(t, err)
		other := "other"
		lease.Spec.HolderIdentity = &other
		_, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
		return err == nil
	}, 5*time.Second, 10*time.Millisecond)
	select {
	case <-held.Done():
		require.ErrorIs(t, context.Cause(held), kube.ErrLockLost)
	case <-time.After(10 * time.Second):
		t.Fatal("the loss was not noticed")
	}
	// Putting back what was there goes on after a cancellation, but not after the lock is lost.
	_, err = c.Apply(context.WithoutCancel(held), settings, kube.ApplyOptions{})
	require.ErrorIs(t, err, kube.ErrLockLost)
	unlock()
	lease, err := leases.Get(t.Context(), "aksflow-vote", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "other", *lease.Spec.HolderIdentity, "the other's lock is left alone")
}

func TestLockThatMayNotBeTaken(t *testing.T) {
	c, _ := kubetest.Connect(t)
	_, _, err := c.Lock(t.Context(), "vote", "no-such-namespace", "me")
	require.ErrorContains(t, err, "Lease/aksflow-vote")
	require.ErrorContains(t, err, `namespaces "no-such-namespace" not found`)
}
