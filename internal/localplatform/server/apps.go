//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// serveApps serves every Service of the cluster on one port of the host: http://SERVICE.NAMESPACE.localhost:PORT/. This
// process sends the requests on, because the addresses of Services exist only inside the platform's namespaces.
func (s *supervisor) serveApps(context.Context) error {
	a, err := s.api()
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetXForwarded(); r.Out.Host = r.In.Host },
		ErrorLog: nil,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, fmt.Sprintf("%s does not answer: %v", r.Host, err), http.StatusBadGateway)
		},
		Transport: &http.Transport{DisableKeepAlives: true}, // so that each request reaches a pod that runs now
	}
	var known sync.Map // host to *url.URL: apps stay reachable while the API server is down, as in any cluster
	s.serveHTTP(s.inherited[appsListener], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, err := target(r.Context(), a, r.Host)
		switch last, ok := known.Load(r.Host); {
		case err == nil:
			known.Store(r.Host, target)
		case errors.As(err, new(noAppError)):
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		case !ok:
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		default:
			target = last.(*url.URL)
		}
		r.URL.Scheme, r.URL.Host = target.Scheme, target.Host
		proxy.ServeHTTP(w, r)
	}))
	return nil
}

// noAppError explains why a host name stands for no Service.
type noAppError string

func (e noAppError) Error() string { return string(e) }

// target returns the address of the Service that a host name stands for.
func target(ctx context.Context, a *api, host string) (*url.URL, error) {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	labels := strings.Split(strings.TrimSuffix(name, ".localhost"), ".")
	if len(labels) != 2 || !strings.HasSuffix(name, ".localhost") {
		return nil, noAppError(fmt.Sprintf("%q names no app: open http://SERVICE.NAMESPACE.localhost:PORT/", name))
	}
	var service corev1.Service
	err = a.get(ctx, fmt.Sprintf("/api/v1/namespaces/%s/services/%s", url.PathEscape(labels[1]), url.PathEscape(labels[0])), &service)
	if hasStatus(err, http.StatusNotFound) {
		return nil, noAppError(fmt.Sprintf("the cluster has no Service %s in the namespace %s", labels[0], labels[1]))
	}
	if err != nil {
		return nil, err
	}
	if service.Spec.ClusterIP == "" || service.Spec.ClusterIP == corev1.ClusterIPNone || len(service.Spec.Ports) == 0 {
		return nil, noAppError(fmt.Sprintf("the Service %s in the namespace %s has no address of its own", labels[0], labels[1]))
	}
	return &url.URL{
		Scheme: "http", Host: net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(service.Spec.Ports[0].Port))),
	}, nil
}
