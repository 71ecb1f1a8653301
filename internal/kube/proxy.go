package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// maxAnswer is how much of a Service's answer is read, in bytes.
const maxAnswer = 4 << 20

// ServiceProxy sends one HTTP request to a Service through the API server, so that the Service needs no address that is
// reachable from here. port is a name or a number. A form that is not nil is sent as the body, as a browser would send it.
// status is that of the answer, whatever it is: 503 may mean that no pod is ready. err means that there was no answer.
//
// It needs the right to get (or, for a POST, to create) services/proxy.
func (c *Cluster) ServiceProxy(ctx context.Context, namespace, service, port, method, path string, form url.Values) (status int, body []byte, err error) {
	return c.proxy(ctx, "Service/"+service, c.core.RESTClient().Verb(method).Namespace(namespace).Resource("services").SubResource("proxy").
		Name(utilnet.JoinSchemeNamePort("", service, port)), method, path, form)
}

// PodProxy sends one GET request to a pod through the API server, as ServiceProxy does to a Service.
//
// It needs the right to get pods/proxy.
func (c *Cluster) PodProxy(ctx context.Context, namespace, pod string, port int, path string) (status int, body []byte, err error) {
	return c.proxy(ctx, "Pod/"+pod, c.core.RESTClient().Get().Namespace(namespace).Resource("pods").SubResource("proxy").
		Name(utilnet.JoinSchemeNamePort("", pod, strconv.Itoa(port))), http.MethodGet, path, nil)
}

// proxy sends a request to what the API server passes requests on to; name is what errors call it.
func (c *Cluster) proxy(ctx context.Context, name string, to *rest.Request, method, path string, form url.Values) (status int, body []byte, err error) {
	client := *c.http
	// A redirect would lead to the API server's own paths.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	path, query, _ := strings.Cut(path, "?")
	target := to.Suffix(path).URL()
	if strings.HasSuffix(path, "/") || path == "" {
		target.Path = strings.TrimSuffix(target.Path, "/") + "/"
	}
	target.RawQuery = query

	var content io.Reader
	if form != nil {
		content = strings.NewReader(form.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return 0, nil, err
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("asking %s through the API server: %w", name, rootCause(err))
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer of %s: %w", name, err)
	}
	return answer.StatusCode, body, nil
}

// FirstPort returns the number of a Service's first port, "" if it has none.
func (c *Cluster) FirstPort(ctx context.Context, namespace, service string) (string, error) {
	var port string
	err := c.Retry(ctx, func(ctx context.Context) error {
		s, err := c.core.Services(namespace).Get(ctx, service, metav1.GetOptions{})
		if err == nil && len(s.Spec.Ports) > 0 {
			port = fmt.Sprint(s.Spec.Ports[0].Port)
		}
		return err
	})
	return port, Explain("Service/"+service, err)
}
