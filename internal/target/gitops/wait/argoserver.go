package wait

import (
	"bufio"
	"bytes"
	"cmp"
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

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/kube/status"
)

// argoServer is a world seen through Argo CD's API, with a token that may get the Application, and sync it if that is
// asked for. The server streams changes of the Application and of its resource tree; after one, the objects are read
// again.
type argoServer struct {
	base    string // https://HOST[/ROOT]
	token   string
	client  *http.Client
	signal  chan struct{}
	timeout time.Duration // how long a comparison may take
	stop    context.CancelFunc

	mu      sync.Mutex
	app     *unstructured.Unstructured
	objects map[objectRef]*unstructured.Unstructured
	stale   bool // the objects are older than the last change
	refused error
	ctx     context.Context // of the streams; objects are read under it
	self    objectRef
}

// openArgoServer finds the Application and begins to follow it.
func openArgoServer(ctx context.Context, o Options) (operator, world, error) {
	if o.Operator == Flux {
		return nil, nil, fault.Usagef("an Argo CD server is given, and the operator is %s: leave one out", Flux)
	}
	if o.ArgoCDToken == "" {
		return nil, nil, fault.Usagef("the Argo CD server %s needs a token: `argocd proj role create-token` makes one", o.ArgoCDServer)
	}
	base := strings.TrimSuffix(o.ArgoCDServer, "/")
	if !strings.Contains(base, "://") {
		base = "https://" + base
	}
	s := &argoServer{base: base, token: o.ArgoCDToken, client: &http.Client{}, timeout: o.operatorTimeout, signal: make(chan struct{}, 1), objects: map[objectRef]*unstructured.Unstructured{}}
	if err := s.find(ctx, o); err != nil {
		return nil, nil, err
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	query := url.Values{"name": {s.self.name}, "appNamespace": {s.self.namespace}, "resourceVersion": {s.app.GetResourceVersion()}}
	go s.stream("/api/v1/stream/applications?"+query.Encode(), s.applicationChanged)
	go s.stream("/api/v1/stream/applications/"+url.PathEscape(s.self.name)+"/resource-tree?"+s.query(), func(json.RawMessage) { s.note() })
	return &application{ref: s.self, client: s, timeout: o.operatorTimeout}, s, nil
}

// query names the Application's namespace.
func (s *argoServer) query() string {
	return url.Values{"appNamespace": {s.self.namespace}}.Encode()
}

func (s *argoServer) find(ctx context.Context, o Options) error {
	query := url.Values{}
	if o.Namespace != "" {
		query.Set("appNamespace", o.Namespace)
	}
	var found *unstructured.Unstructured
	if o.Name != "" {
		app := map[string]any{}
		if err := s.call(ctx, http.MethodGet, "/api/v1/applications/"+url.PathEscape(o.Name)+"?"+query.Encode(), nil, &app); err != nil {
			return err
		}
		found = &unstructured.Unstructured{Object: app}
	} else {
		var list struct{ Items []map[string]any }
		if err := s.call(ctx, http.MethodGet, "/api/v1/applications?"+query.Encode(), nil, &list); err != nil {
			return err
		}
		apps := make([]unstructured.Unstructured, 0, len(list.Items))
		for _, item := range list.Items {
			apps = append(apps, unstructured.Unstructured{Object: item})
		}
		var err error
		if found, err = one(apps, "Application", o, o.follows); err != nil {
			return err
		}
		if found == nil {
			return fmt.Errorf("no Application that %s shows to this token follows path %s of %s: name it, or create it", s.base, cmp.Or(o.Path, "."), o.RepoURL)
		}
	}
	s.app, s.self = found, refOf(applicationKind, found)
	return nil
}

// call makes one request. The token is in no error.
func (s *argoServer) call(ctx context.Context, method, path string, body, into any) error {
	response, err := s.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%s answers something that is not Argo CD's API: is it the server's address, with its root path? %w", s.base, err)
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
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		var urlErr *url.Error
		if errors.As(err, &urlErr) {
			err = urlErr.Err // the message names the server already
		}
		return nil, fmt.Errorf("cannot reach Argo CD at %s: %w", s.base, err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	var said struct{ Message string }
	_ = json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&said)
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return nil, fmt.Errorf("Argo CD at %s refuses the token: is it right, and not expired?", s.base)
	case http.StatusForbidden:
		return nil, fmt.Errorf("Argo CD at %s: the token may not do this, or there is no such Application (%s): the role needs `applications, get`, and `sync` for --sync", s.base, said.Message)
	case http.StatusNotFound:
		return nil, fmt.Errorf("Argo CD at %s knows no such Application: %s", s.base, said.Message)
	}
	return nil, fmt.Errorf("Argo CD at %s answers %s: %s", s.base, response.Status, said.Message)
}

// stream follows one of the server's streams, a JSON document a line, until the context ends; proxies cut them.
func (s *argoServer) stream(path string, visit func(json.RawMessage)) {
	for s.ctx.Err() == nil {
		response, err := s.send(s.ctx, http.MethodGet, path, nil)
		if err == nil {
			lines := bufio.NewReader(response.Body)
			for {
				line, readErr := lines.ReadBytes('\n')
				line = bytes.TrimPrefix(bytes.TrimSpace(line), []byte("data: "))
				if len(line) > 0 {
					visit(line)
				}
				if readErr != nil {
					break
				}
			}
			response.Body.Close()
		}
		s.note()
		select {
		case <-s.ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// applicationChanged takes {"result":{"type":"MODIFIED","application":{…}}}.
func (s *argoServer) applicationChanged(line json.RawMessage) {
	var event struct {
		Result struct{ Application map[string]any }
	}
	if json.Unmarshal(line, &event) == nil && event.Result.Application != nil {
		s.mu.Lock()
		s.app = &unstructured.Unstructured{Object: event.Result.Application}
		s.mu.Unlock()
	}
	s.note()
}

func (s *argoServer) note() {
	s.mu.Lock()
	s.stale = true
	s.mu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

func (s *argoServer) changed() <-chan struct{} { return s.signal }
func (s *argoServer) close()                   { s.stop() }

func (s *argoServer) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// refresh implements argoClient. The server answers when the comparison has been made.
func (s *argoServer) refresh(ctx context.Context, app objectRef) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, errors.New("no answer"))
	defer cancel()
	got := map[string]any{}
	err := s.call(ctx, http.MethodGet, "/api/v1/applications/"+url.PathEscape(app.name)+"?refresh=normal&"+s.query(), nil, &got)
	if err != nil {
		if context.Cause(ctx) != nil {
			return "", fmt.Errorf("Argo CD does not look at %s (%w): is its application-controller running?", app, context.Cause(ctx))
		}
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.app = &unstructured.Unstructured{Object: got}
	return s.app.GetResourceVersion(), nil
}

// sync implements argoClient.
func (s *argoServer) sync(ctx context.Context, app objectRef, revision string) error {
	return s.call(ctx, http.MethodPost, "/api/v1/applications/"+url.PathEscape(app.name)+"/sync",
		map[string]any{"appNamespace": app.namespace, "revision": revision, "prune": true}, &map[string]any{})
}

// follow reads the workloads, and the pods below them in the tree, if something changed since the last time.
func (s *argoServer) follow(ctx context.Context, refs []objectRef) error {
	s.mu.Lock()
	stale := s.stale || len(s.objects) == 0
	s.stale = false
	s.mu.Unlock()
	if !stale {
		return nil
	}
	var tree struct {
		Nodes []struct{ Group, Version, Kind, Namespace, Name string }
	}
	if err := s.call(ctx, http.MethodGet, "/api/v1/applications/"+url.PathEscape(s.self.name)+"/resource-tree?"+s.query(), nil, &tree); err != nil {
		return err
	}
	wanted := append([]objectRef(nil), refs...)
	for _, n := range tree.Nodes {
		if n.Kind == "Pod" && n.Group == "" || n.Kind == "ReplicaSet" && n.Group == "apps" {
			wanted = append(wanted, objectRef{n.Group, n.Version, n.Kind, n.Namespace, n.Name})
		}
	}
	objects := map[objectRef]*unstructured.Unstructured{}
	for _, r := range wanted {
		query := url.Values{
			"appNamespace": {s.self.namespace}, "namespace": {r.namespace}, "resourceName": {r.name}, "group": {r.group}, "version": {r.version}, "kind": {r.kind},
		}
		var answer struct{ Manifest string }
		if err := s.call(ctx, http.MethodGet, "/api/v1/applications/"+url.PathEscape(s.self.name)+"/resource?"+query.Encode(), nil, &answer); err != nil {
			continue // gone between the tree and now
		}
		object := map[string]any{}
		if json.Unmarshal([]byte(answer.Manifest), &object) == nil {
			objects[r] = wholeNumbers(object)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects = objects
	return nil
}

// wholeNumbers makes an object of decoded JSON: Kubernetes has integers where encoding/json gives floats.
func wholeNumbers(object map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	encoded, err := json.Marshal(object)
	if err != nil || u.UnmarshalJSON(encoded) != nil {
		return &unstructured.Unstructured{Object: object}
	}
	return u
}

func (s *argoServer) object(r objectRef) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r == s.self {
		return s.app
	}
	return s.objects[r]
}

func (s *argoServer) around(namespace string, _ time.Time) *status.World {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &status.World{}
	for r, o := range s.objects {
		if r.namespace != namespace {
			continue
		}
		switch r.kind {
		case "Pod":
			pod := new(corev1.Pod)
			if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, pod) == nil {
				w.Pods = append(w.Pods, pod)
			}
		case "ReplicaSet":
			set := new(appsv1.ReplicaSet)
			if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, set) == nil {
				w.ReplicaSets = append(w.ReplicaSets, set)
			}
		}
	}
	return w
}
