package wait

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

// argoServer is the view through Argo CD's API, with a token that may get the Application, and sync it if that is asked
// for. The server streams changes of an Application and of its resource tree. After a change, the objects are read again.
type argoServer struct {
	Options
	base   string // https://HOST[/ROOT]
	http   *http.Client
	signal chan struct{}
	ctx    context.Context // of the streams
	stop   context.CancelFunc

	mu   sync.Mutex
	apps map[watch.Object]*argoApp
}

// argoApp is an Application that is followed.
type argoApp struct {
	object  *unstructured.Unstructured
	objects map[watch.Object]*unstructured.Unstructured // workloads, their ReplicaSets and pods
	stale   bool                                        // the objects are older than the last change
}

// openArgoServer finds the Application and begins to follow it.
func openArgoServer(ctx context.Context, o Options) (operator, view, error) {
	if o.Operator == Flux {
		return nil, nil, fault.Usagef("an Argo CD server is given, and gitops.operator is %s: leave one out", Flux)
	}
	if o.ArgoCDToken == "" {
		return nil, nil, fault.Usagef("the Argo CD server %s needs a token: `argocd proj role create-token` makes one; pass it in AKSFLOW_ARGOCD_TOKEN", o.ArgoCDServer)
	}
	base := strings.TrimSuffix(o.ArgoCDServer, "/")
	if !strings.Contains(base, "://") {
		base = "https://" + base
	}
	s := &argoServer{Options: o, base: base, http: o.Network.Client(), signal: make(chan struct{}, 1), apps: map[watch.Object]*argoApp{}}
	found, includes, err := s.find(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	root, err := s.operator(ctx, found)
	if set, ok := root.(*applicationSet); ok {
		set.includes = includes
	}
	if err == nil {
		err = s.followOperator(ctx, root)
	}
	if err != nil {
		s.close()
		return nil, nil, err
	}
	return root, s, nil
}

// find returns the Application that is named, or that follows the repository; or the ApplicationSet that has made several
// such Applications, and which of them those are. It does not retry, so that a wrong address fails at once.
func (s *argoServer) find(ctx context.Context) (found watch.Object, includes func(*unstructured.Unstructured) bool, err error) {
	query := url.Values{}
	if s.Namespace != "" {
		query.Set("appNamespace", s.Namespace)
	}
	if s.Name != "" {
		app := map[string]any{}
		err := s.once(ctx, http.MethodGet, "/api/v1/applications/"+url.PathEscape(s.Name)+"?"+query.Encode(), nil, &app)
		return applicationOf(&unstructured.Unstructured{Object: app}), nil, err
	}
	apps, err := s.list(ctx, s.once, query)
	if err != nil {
		return watch.Object{}, nil, err
	}
	near := nearest(apps, s.Options, s.nearestApplication)
	if set, several := commonSet(near); several {
		return set, s.nearAs(near), nil
	}
	app, err := only(near, applicationKind.Kind)
	if err == nil && app == nil {
		err = fmt.Errorf("no Application that %s shows to this token follows path %s of %s: create it, or %s", s.base, plainPath(s.Path), s.RepoURL, nameIt)
	}
	if err != nil {
		return watch.Object{}, nil, err
	}
	return applicationOf(app), nil, nil
}

func applicationOf(app *unstructured.Unstructured) watch.Object {
	return watch.Object{Kind: applicationKind, Namespace: app.GetNamespace(), Name: app.GetName()}
}

// list returns the Applications that the token may see.
func (s *argoServer) list(ctx context.Context, call func(ctx context.Context, method, path string, body, into any) error, query url.Values) ([]*unstructured.Unstructured, error) {
	var list struct{ Items []map[string]any }
	if err := call(ctx, http.MethodGet, "/api/v1/applications?"+query.Encode(), nil, &list); err != nil {
		return nil, err
	}
	apps := make([]*unstructured.Unstructured, 0, len(list.Items))
	for _, item := range list.Items {
		apps = append(apps, &unstructured.Unstructured{Object: item})
	}
	return apps, nil
}

// applications implements setClient.
func (s *argoServer) applications(namespace string) ([]*unstructured.Unstructured, error) {
	return s.list(s.ctx, s.call, url.Values{"appNamespace": {namespace}})
}

// refreshSet implements setClient. Argo CD's API has no such request: the generators run when their repository changes.
func (s *argoServer) refreshSet(context.Context, watch.Object) (bool, error) { return false, nil }

// appPath is the address of an Application, with a part of it and a query.
func (s *argoServer) appPath(app watch.Object, part string, query url.Values) string {
	if query == nil {
		query = url.Values{}
	}
	query.Set("appNamespace", app.Namespace)
	return "/api/v1/applications/" + url.PathEscape(app.Name) + part + "?" + query.Encode()
}

// outageError is a failure of the network or the server that may pass.
type outageError struct{ error }

// call makes a request that is safe to repeat, and decodes the answer. A server that does not answer gets the time that a
// cluster gets.
func (s *argoServer) call(ctx context.Context, method, path string, body, into any) error {
	warned := false
	_, err := backoff.Retry(ctx, func() (any, error) {
		once, cancel := context.WithTimeoutCause(ctx, s.operatorTimeout, errors.New("no answer"))
		defer cancel()
		err := s.once(once, method, path, body, into)
		var outage outageError
		if !errors.As(err, &outage) || ctx.Err() != nil {
			if warned && err == nil {
				report.Info(ctx, "Argo CD answers again")
			}
			return nil, permanent(err)
		}
		if !warned {
			warned = true
			report.Warn(ctx, "%v: trying again for up to %s", err, report.Span(kube.OutageLimit))
		}
		return nil, err
	}, backoff.WithMaxElapsedTime(kube.OutageLimit))
	return err
}

func permanent(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}

// once makes one request. The token is in no error.
func (s *argoServer) once(ctx context.Context, method, path string, body, into any) error {
	response, err := s.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("the answer of %s is not that of Argo CD's API: check that the address is the server's, with its root path: %w", s.base, err)
	}
	return nil
}

func (s *argoServer) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, reader)
	if err != nil {
		return nil, fault.Usagef("the Argo CD server's address %q is no URL: %w", s.base, err)
	}
	request.Header.Set("Authorization", "Bearer "+s.ArgoCDToken)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.http.Do(request)
	if err != nil {
		var urlErr *url.Error
		if errors.As(err, &urlErr) {
			err = urlErr.Err // the message names the server already
		}
		return nil, outageError{fmt.Errorf("cannot reach Argo CD at %s: %w", s.base, err)}
	}
	if response.StatusCode < http.StatusMultipleChoices {
		return response, nil
	}
	defer response.Body.Close()
	var said struct{ Message string }
	_ = json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&said)
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized:
		return nil, fmt.Errorf("Argo CD at %s refuses the token: check that it is right and not expired", s.base)
	case code == http.StatusForbidden:
		return nil, fmt.Errorf("Argo CD at %s: the token may not do this, or there is no such Application (%s): the role needs `applications, get`, and `sync` for --sync", s.base, said.Message)
	case code == http.StatusNotFound:
		return nil, fmt.Errorf("Argo CD at %s knows no such Application: %s", s.base, said.Message)
	case code == http.StatusTooManyRequests || code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout:
		return nil, outageError{fmt.Errorf("Argo CD at %s answers %s", s.base, response.Status)}
	}
	return nil, fmt.Errorf("Argo CD at %s answers %s: %s", s.base, response.Status, said.Message)
}

// operator implements view.
func (s *argoServer) operator(_ context.Context, o watch.Object) (operator, error) {
	if o.Kind == applicationSetKind {
		return &applicationSet{object: o, client: s, timeout: s.operatorTimeout}, nil
	}
	return &application{object: o, client: s, repoURL: s.RepoURL, path: s.Path, timeout: s.operatorTimeout}, nil
}

// followOperator implements view. What is followed already is left as it is.
func (s *argoServer) followOperator(ctx context.Context, o operator) error {
	self := o.self()
	if self.Kind == applicationSetKind {
		return nil // a token that may read its Applications need not be allowed to read it
	}
	s.mu.Lock()
	_, known := s.apps[self]
	s.mu.Unlock()
	if known {
		return nil
	}
	got := map[string]any{}
	if err := s.call(ctx, http.MethodGet, s.appPath(self, "", nil), nil, &got); err != nil {
		return err
	}
	app := &argoApp{object: &unstructured.Unstructured{Object: got}, stale: true}
	s.mu.Lock()
	s.apps[self] = app
	s.mu.Unlock()
	query := url.Values{"name": {self.Name}, "appNamespace": {self.Namespace}, "resourceVersion": {app.object.GetResourceVersion()}}
	go s.stream("/api/v1/stream/applications?"+query.Encode(), app, s.applicationChanged)
	tree := "/api/v1/stream/applications/" + url.PathEscape(self.Name) + "/resource-tree?" + url.Values{"appNamespace": {self.Namespace}}.Encode()
	go s.stream(tree, app, func(*argoApp, json.RawMessage) {})
	return nil
}

// streamPause is the time between two tries to open a stream. Proxies cut streams.
const streamPause = time.Second

// stream follows one of the server's streams, a JSON document a line, until the context ends.
func (s *argoServer) stream(path string, app *argoApp, visit func(*argoApp, json.RawMessage)) {
	for s.ctx.Err() == nil {
		response, err := s.send(s.ctx, http.MethodGet, path, nil)
		if err == nil {
			lines := bufio.NewReader(response.Body)
			for {
				line, readErr := lines.ReadBytes('\n')
				line = bytes.TrimPrefix(bytes.TrimSpace(line), []byte("data: "))
				if len(line) > 0 {
					visit(app, line)
					s.note(app)
				}
				if readErr != nil {
					break
				}
			}
			response.Body.Close()
		}
		s.note(app)
		select {
		case <-s.ctx.Done():
		case <-time.After(streamPause):
		}
	}
}

// applicationChanged takes {"result":{"type":"MODIFIED","application":{…}}}.
func (s *argoServer) applicationChanged(app *argoApp, line json.RawMessage) {
	var event struct {
		Result struct{ Application map[string]any }
	}
	if json.Unmarshal(line, &event) == nil && event.Result.Application != nil {
		s.mu.Lock()
		app.object = &unstructured.Unstructured{Object: event.Result.Application}
		s.mu.Unlock()
	}
}

// note marks what is known of an Application as old.
func (s *argoServer) note(app *argoApp) {
	s.mu.Lock()
	app.stale = true
	s.mu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

func (s *argoServer) changed() <-chan struct{}    { return s.signal }
func (s *argoServer) check(context.Context) error { return nil } // follow finds out
func (s *argoServer) close()                      { s.stop() }

// logs returns nothing: a token that may read an Application need not be allowed to read logs.
func (s *argoServer) logs(context.Context, string, string, string) []string { return nil }

// refresh implements argoClient. The server answers when the comparison has been made.
func (s *argoServer) refresh(ctx context.Context, app watch.Object) (string, error) {
	got := map[string]any{}
	err := s.call(ctx, http.MethodGet, s.appPath(app, "", url.Values{"refresh": {"normal"}}), nil, &got)
	if err != nil {
		return "", fmt.Errorf("asking Argo CD to look at %s: %w", app, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[app].object = &unstructured.Unstructured{Object: got}
	return s.apps[app].object.GetResourceVersion(), nil
}

// startSync implements argoClient.
func (s *argoServer) startSync(ctx context.Context, app watch.Object, revision string) error {
	return s.call(ctx, http.MethodPost, "/api/v1/applications/"+url.PathEscape(app.Name)+"/sync",
		map[string]any{"appNamespace": app.Namespace, "revision": revision, "prune": true}, &map[string]any{})
}

// follow implements view: it reads the workloads, and the pods below them in the tree, if something changed since the last
// time.
func (s *argoServer) follow(ctx context.Context, by operator, workloads []watch.Object) error {
	self := by.self()
	s.mu.Lock()
	app := s.apps[self]
	if app == nil { // an ApplicationSet
		s.mu.Unlock()
		return nil
	}
	stale := app.stale || len(app.objects) == 0
	app.stale = false
	s.mu.Unlock()
	if !stale {
		return nil
	}
	var tree struct {
		Nodes []struct{ Group, Version, Kind, Namespace, Name string }
	}
	if err := s.call(ctx, http.MethodGet, s.appPath(self, "/resource-tree", nil), nil, &tree); err != nil {
		return err
	}
	wanted := append([]watch.Object(nil), workloads...)
	for _, n := range tree.Nodes {
		if n.Kind == "Pod" && n.Group == "" || n.Kind == "ReplicaSet" && n.Group == "apps" {
			wanted = append(wanted, watch.Object{Kind: schema.GroupVersionKind{Group: n.Group, Version: n.Version, Kind: n.Kind}, Namespace: n.Namespace, Name: n.Name})
		}
	}
	objects := map[watch.Object]*unstructured.Unstructured{}
	for _, o := range wanted {
		query := url.Values{"namespace": {o.Namespace}, "resourceName": {o.Name}, "group": {o.Kind.Group}, "version": {o.Kind.Version}, "kind": {o.Kind.Kind}}
		var answer struct{ Manifest string }
		if err := s.call(ctx, http.MethodGet, s.appPath(self, "/resource", query), nil, &answer); err != nil {
			continue // gone between the tree and now
		}
		object := &unstructured.Unstructured{}
		if object.UnmarshalJSON([]byte(answer.Manifest)) == nil {
			objects[o] = object
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	app.objects = objects
	return nil
}

func (s *argoServer) object(o watch.Object) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	if app := s.apps[o]; app != nil {
		return app.object
	}
	for _, app := range s.apps {
		if object := app.objects[o]; object != nil {
			return object
		}
	}
	return nil
}

func (s *argoServer) world() *status.World {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &status.World{Graces: s.graces()}
	for _, app := range s.apps {
		for o, object := range app.objects {
			switch o.Kind.Kind {
			case "Pod":
				w.Pods = appendAs(w.Pods, object)
			case "ReplicaSet":
				w.ReplicaSets = appendAs(w.ReplicaSets, object)
			}
		}
	}
	return w
}

// appendAs appends an object as the API's own type, unless it does not fit.
func appendAs[T corev1.Pod | appsv1.ReplicaSet](list []*T, o *unstructured.Unstructured) []*T {
	typed := new(T)
	if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, typed) != nil {
		return list
	}
	return append(list, typed)
}
