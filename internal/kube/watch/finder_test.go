package watch

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/testing/kubetest"
)

// A namespace that ends is known before its pods are terminating: the namespace controller waits five seconds.
func TestEndingNamespaces(t *testing.T) {
	c, client := kubetest.Connect(t)
	kubetest.Namespace(t, client, "ends")
	kubetest.Namespace(t, client, "remains")
	f, ctx := &finder{cluster: c}, t.Context()
	require.NoError(t, client.CoreV1().Namespaces().Delete(ctx, "ends", metav1.DeleteOptions{}))
	assert.EventuallyWithT(t, func(t *assert.CollectT) {
		ending := f.endingNamespaces(ctx)
		assert.True(t, ending["ends"])
		assert.False(t, ending["remains"])
	}, 20*time.Second, 50*time.Millisecond)
}
