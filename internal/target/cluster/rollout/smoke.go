package rollout

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
)

const (
	// smokeTimeout is how long a request may fail before the smoke test fails: a pod that is ready is known to every node
	// only a moment later.
	smokeTimeout  = 10 * time.Second
	smokeInterval = 250 * time.Millisecond
)

// RunSmoke sends the requests and compares the answers. service is the one to ask where a request names none.
func RunSmoke(ctx context.Context, c *kube.Cluster, namespace string, requests []Smoke, service string) error {
	for _, request := range requests {
		request.Service = cmp.Or(request.Service, service)
		request.Path = cmp.Or(request.Path, "/")
		request.Status = cmp.Or(request.Status, http.StatusOK)
		if request.Service == "" {
			return fault.Usagef("the smoke test of %s names no Service, and no Service of the manifests selects a Deployment: name one", request.Path)
		}
		if request.Port == "" {
			port, err := c.FirstPort(ctx, namespace, request.Service)
			if err != nil {
				return err
			}
			request.Port = port
		}
		if err := runSmoke(ctx, c, namespace, request); err != nil {
			return err
		}
		report.Info(ctx, "smoke test passed: GET %s of Service/%s answers %d", request.Path, request.Service, request.Status)
	}
	return nil
}

func runSmoke(ctx context.Context, c *kube.Cluster, namespace string, request Smoke) error {
	deadline := time.Now().Add(smokeTimeout)
	for {
		status, body, err := c.ServiceProxy(ctx, namespace, request.Service, request.Port, http.MethodGet, request.Path, nil)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
		case status == http.StatusForbidden && strings.Contains(string(body), "cannot get resource"):
			return fmt.Errorf("the smoke test of Service/%s: %w", request.Service, &kube.PermissionError{User: "the deployer", Verb: "get", Resource: "services/proxy", Namespace: namespace})
		case status != request.Status:
			err = fmt.Errorf("it answers %d and should answer %d: %s", status, request.Status, beginning(body))
		case !strings.Contains(string(body), request.Body):
			err = fmt.Errorf("its answer does not contain %q: %s", request.Body, beginning(body))
		default:
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the smoke test failed: GET %s of Service/%s: %w", request.Path, request.Service, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(smokeInterval):
		}
	}
}

// maxBeginning bounds how much of an answer an error shows, in bytes.
const maxBeginning = 200

func beginning(body []byte) string {
	text := strings.Join(strings.Fields(string(body)), " ")
	if len(text) > maxBeginning {
		text = text[:maxBeginning] + "…"
	}
	return text
}
