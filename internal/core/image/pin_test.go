package image

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/dial"
)

// replicas are two registries that know nothing of each other, as those of one geo-replicated registry do for some time. The
// name leads to the one and the other by turns, and no connection is used twice.
func replicas(t *testing.T) (network dial.Network, servers [2]*httptest.Server) {
	t.Helper()
	for i, address := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
		listener, err := net.Listen("tcp", address)
		require.NoError(t, err)
		servers[i] = httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		require.NoError(t, servers[i].Listener.Close())
		servers[i].Listener = listener
		servers[i].Config.SetKeepAlivesEnabled(false)
		servers[i].Start()
		t.Cleanup(servers[i].Close)
	}
	var turn atomic.Int64
	return dial.Network{Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "geo.example:80" {
			address = servers[turn.Add(1)%2].Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}, servers
}

// One push is at one replica, although the name leads to two of which one lacks what was just sent to the other.
func TestPushStaysAtOneReplica(t *testing.T) {
	noConfig(t)
	network, servers := replicas(t)
	r := quick
	r.Insecure, r.Network = true, network
	for range 4 {
		o := Options{Tarball: tarball(t, newImage(t, emptyImage(), 1<<10, 6)), Repository: "geo.example:80/vote", Tags: []string{"a"}, Registry: r}
		pushed, err := Push(t.Context(), o)
		require.NoError(t, err)
		assert.Equal(t, 7, pushed.Uploaded)
	}
	t.Run("one that went away", func(t *testing.T) {
		through := pin(network.Transport(http.DefaultTransport.(*http.Transport)))
		get := func() error {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://geo.example/v2/", nil)
			require.NoError(t, err)
			answer, err := through.RoundTrip(request)
			if err == nil {
				err = answer.Body.Close()
			}
			return err
		}
		require.NoError(t, get())
		servers[0].Close()
		var err error
		for range 4 { // the name leads to the dead one by turns, too
			if err = get(); err == nil {
				break
			}
		}
		require.NoError(t, err)
		for range 4 {
			require.NoError(t, get(), "and it stays at the other")
		}
	})
}

// Azure takes no image whose digest was deleted softly.
func TestSoftDeletedIsNamed(t *testing.T) {
	repo, err := Registry{}.parse("myregistry.azurecr.io/team/vote")
	require.NoError(t, err)
	c := &client{repo: repo}
	got := c.explain(t.Context(), "push", &transport.Error{StatusCode: http.StatusConflict})
	assert.ErrorContains(t, got, "`az acr manifest restore --registry myregistry --name team/vote:TAG` brings it back")
	repo, err = Registry{}.parse("registry.example/team/vote")
	require.NoError(t, err)
	c.repo = repo
	assert.NotContains(t, c.explain(t.Context(), "push", &transport.Error{StatusCode: http.StatusConflict}).Error(), "az acr")
}
