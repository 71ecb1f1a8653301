package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOrders delivers the services of examples/orders in the order of its README: a database, an api with a migration, a
// worker. A change of the worker builds and tests nothing else, and a migration that fails ends the deploy before a new pod starts.
func TestOrders(t *testing.T) {
	w := &worktree{t: t, dir: t.TempDir()}
	require.NoError(t, os.CopyFS(w.dir, os.DirFS("../../examples/orders")))
	_, err := git.PlainInit(w.dir, false)
	require.NoError(t, err)
	w.commit("As it is")
	w.succeed(&struct{}{}, "up", "--free-ports", "kubernetes")

	delivered := map[string]delivery{}
	deliver := func(service string) delivery {
		reports := filepath.Join(w.t.TempDir(), "reports")
		var d delivery
		w.succeed(&d, "deliver", "-c", "aksflow."+service+".yaml", "--env", "local", "--report", reports)
		page, err := os.ReadFile(filepath.Join(reports, "report.html"))
		require.NoError(t, err)
		assert.Contains(t, string(page), d.Image)
		return d
	}
	for _, service := range []string{"db", "api", "worker"} {
		delivered[service] = deliver(service)
	}
	orders(t, http.MethodPost, `{"item": "tea", "quantity": 2}`)
	assert.Eventually(t, func() bool { return strings.Contains(orders(t, http.MethodGet, ""), `"shipped"`) }, time.Minute, 100*time.Millisecond)
	r := w.aksflow("logs", "-c", "aksflow.worker.yaml", "--env", "local")
	assert.Contains(t, r.stdout, "/worker  ")
	assert.Contains(t, r.stdout, "shipped order 1\n")

	w.replace("cmd/worker/main.go", `"shipped order %d"`, `"order %d is shipped"`)
	w.commit("Change the worker")
	api, worker := deliver("api"), deliver("worker")
	assert.Equal(t, digest(delivered["api"].Image), digest(api.Image))
	for _, step := range []string{"build", "test"} {
		assert.Equal(t, "unchanged", api.status(step), step)
	}
	assert.NotEqual(t, digest(delivered["worker"].Image), digest(worker.Image))
	assert.Contains(t, orders(t, http.MethodGet, ""), `"shipped"`, "the data stay")

	// In the tests each order is open.
	w.write("internal/orders/migrations/003_open.sql", "ALTER TABLE orders ADD CONSTRAINT all_open CHECK (status = 'open');\n")
	w.commit("A migration that the data do not allow")
	r = w.aksflow("deliver", "-c", "aksflow.api.yaml", "--env", "local")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, "003_open.sql")
	assert.Contains(t, r.stderr, `check constraint "all_open"`)
	assert.Contains(t, orders(t, http.MethodGet, ""), `"shipped"`, "the version before serves")
}

// orders sends a request to the api through the platform's port for apps.
func orders(t *testing.T, method, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://localhost:%d/orders", local.Apps), strings.NewReader(body))
	require.NoError(t, err)
	req.Host = "orders-api.orders.localhost"
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Less(t, resp.StatusCode, 300, string(answer))
	return string(answer)
}
