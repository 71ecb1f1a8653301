package kube

import (
	"context"
	"fmt"
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

// accessConfig asks a cluster's cloud for the kubeconfig. Where a token logs in, the program that the kubeconfig names for
// that is not run.
func accessConfig(ctx context.Context, access delivery.ClusterAccess) (*rest.Config, error) {
	content, useToken, err := access.Kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig that the cluster's cloud gives: %w", err)
	}
	if useToken {
		config.ExecProvider, config.AuthProvider = nil, nil
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &tokenLogin{next, access} })
	}
	return config, nil
}

// accessStatic is accessConfig with a token that does not change, and the name of the context.
func accessStatic(ctx context.Context, access delivery.ClusterAccess) (*rest.Config, kubeContext, error) {
	content, useToken, err := access.Kubeconfig(ctx)
	if err != nil {
		return nil, kubeContext{}, err
	}
	raw, err := clientcmd.Load(content)
	if err != nil {
		return nil, kubeContext{}, fmt.Errorf("reading the kubeconfig that the cluster's cloud gives: %w", err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err == nil && useToken {
		config.ExecProvider, config.AuthProvider = nil, nil
		config.BearerToken, err = access.Token(ctx)
	}
	return config, kubeContext{name: raw.CurrentContext}, err
}

// tokenLogin sends a bearer token with each request, so that a run may take longer than one token lives.
type tokenLogin struct {
	next   http.RoundTripper
	access delivery.ClusterAccess
}

// RoundTrip implements http.RoundTripper.
func (t *tokenLogin) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.access.Token(r.Context())
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as http.RoundTripper wants
		}
		return nil, err
	}
	r = utilnet.CloneRequest(r)
	r.Header.Set("Authorization", "Bearer "+token)
	return t.next.RoundTrip(r)
}

// WrappedRoundTripper lets client-go find the transport.
func (t *tokenLogin) WrappedRoundTripper() http.RoundTripper { return t.next }

// explainUnreachable says why a cluster of a cloud did not answer.
func (c *Cluster) explainUnreachable(ctx context.Context, err error) error {
	why := c.access.Unreachable(ctx)
	if why == "" {
		why = "is the cluster running, and may this machine reach it?"
	}
	return fmt.Errorf("the API server %s cannot be reached (%w): %s", c.host, rootCause(err), why)
}
