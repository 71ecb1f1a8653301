package cluster

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	// smokePatience is how long a request may go wrong before the smoke test fails: a pod that is ready is known to
	// every node only a moment later.
	smokePatience = 10 * time.Second
	smokeInterval = 250 * time.Millisecond
)

// smoke sends the requests and compares the answers. service is the one to ask where a request names none.
func (d *delivery) smoke(ctx context.Context, requests []Smoke, service string) error {
	for _, request := range requests {
		if request.Service == "" {
			request.Service = service
		}
		if request.Service == "" {
			return fault.Usagef("the smoke test of %s names no Service, and none of the manifests is in front of a Deployment: name one", cmp.Or(request.Path, "/"))
		}
		if request.Path == "" {
			request.Path = "/"
		}
		if request.Status == 0 {
			request.Status = http.StatusOK
		}
		if request.Port == "" {
			port, err := d.cluster.firstPort(ctx, d.release.Namespace, request.Service)
			if err != nil {
				return err
			}
			request.Port = port
		}
		if err := d.smokeOne(ctx, request); err != nil {
			return err
		}
		report.Info(ctx, "smoke test passed: GET %s of Service/%s answers %d", request.Path, request.Service, request.Status)
	}
	return nil
}

func (d *delivery) smokeOne(ctx context.Context, request Smoke) error {
	deadline := time.Now().Add(smokePatience)
	for {
		status, body, err := d.cluster.ServiceProxy(ctx, d.release.Namespace, request.Service, request.Port, http.MethodGet, request.Path, nil)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
		case status == http.StatusForbidden && strings.Contains(string(body), "cannot get resource"):
			return fmt.Errorf("the smoke test of Service/%s: %w", request.Service, &PermissionError{User: "the deployer", Verb: "get", Resource: "services/proxy", Namespace: d.release.Namespace})
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

func beginning(body []byte) string {
	text := strings.Join(strings.Fields(string(body)), " ")
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return text
}

func (c *Cluster) firstPort(ctx context.Context, namespace, service string) (string, error) {
	var port string
	err := c.request(ctx, func(ctx context.Context) error {
		s, err := c.client.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
		if err == nil && len(s.Spec.Ports) > 0 {
			port = fmt.Sprint(s.Spec.Ports[0].Port)
		}
		return err
	})
	return port, explain("Service/"+service, err)
}
