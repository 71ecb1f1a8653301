//go:build linux

package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// plainClient is an HTTP client for servers on loopback.
var plainClient = &http.Client{Transport: &http.Transport{}} // ignores proxies of the environment

// api is a small client for the few calls that the platform itself makes. client-go would be most of the program's size.
type api struct {
	client *http.Client
	url    string
}

func (s *supervisor) api() (*api, error) {
	cp := s.controlPlane()
	client, err := cp.Client("admin")
	if err != nil {
		return nil, err
	}
	return &api{client, cp.URL()}, nil
}

// statusError is a response of the API with a status other than 2xx.
type statusError struct {
	code         int
	what, answer string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: the API server answers %d %s: %s", e.what, e.code, http.StatusText(e.code), e.answer)
}

func hasStatus(err error, code int) bool {
	e := (*statusError)(nil)
	return errors.As(err, &e) && e.code == code
}

// busyPause is how long to wait before a busy server is asked again.
const busyPause = 200 * time.Millisecond

// isBusy reports whether the server had no time for a request.
func isBusy(err error) bool {
	return hasStatus(err, http.StatusGatewayTimeout) || hasStatus(err, http.StatusServiceUnavailable) || hasStatus(err, http.StatusTooManyRequests)
}

// do sends a request and returns a response with status 2xx, whose body the caller closes. Another status is an error.
func (a *api) do(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, error) {
	what := method + " " + path
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	req.Header.Set("Content-Type", contentType)
	// The first media type is for discovery: one response that holds all groups. Other resources use the second.
	req.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // a part of the message is better than none
	status := struct{ Message string }{Message: string(answer)}
	_ = json.Unmarshal(answer, &status) // if it is not a Status, the text is shown as it is
	return nil, &statusError{resp.StatusCode, what, status.Message}
}

// get reads an object.
func (a *api) get(ctx context.Context, path string, into any) error {
	resp, err := a.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

// post creates an object from YAML or JSON. An object that exists already is not an error, so a server that was too busy
// to answer is asked again until ctx ends.
func (a *api) post(ctx context.Context, path string, object []byte) error {
	resp, err := a.do(ctx, http.MethodPost, path, "application/yaml", object)
	for isBusy(err) && ctx.Err() == nil {
		time.Sleep(busyPause)
		resp, err = a.do(ctx, http.MethodPost, path, "application/yaml", object)
	}
	if hasStatus(err, http.StatusConflict) {
		return nil
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// Closing the body before its end would cancel the request.
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// watch calls f with each object of a collection and with each change, until the process ends. The server closes every
// watch after some time, and the next one begins with all objects, so f may see an object several times. An error of f is
// logged, and the watch begins again.
func (a *api) watch(path string, f func(change string, object json.RawMessage) error) {
	follow := func() error {
		resp, err := a.do(context.Background(), http.MethodGet, path+"?watch=1", "", nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		for changes := json.NewDecoder(resp.Body); ; {
			var e struct {
				Type   string
				Object json.RawMessage
			}
			switch err := changes.Decode(&e); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			case e.Type == "ERROR":
				return fmt.Errorf("watching %s: %s", path, e.Object)
			}
			if err := f(e.Type, e.Object); err != nil {
				return err
			}
		}
	}
	for ; ; time.Sleep(busyPause) { // a pause, so that a server that refuses is not flooded
		if err := follow(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// create creates the objects of YAML files, in their order, and waits until the kinds that they define are known to
// clients. Objects that exist stay as they are.
func (s *supervisor) create(ctx context.Context, files [][]byte) error {
	a, err := s.api()
	if err != nil {
		return err
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(bytes.Join(files, []byte("\n---\n")))))
	var defined []definition
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return a.awaitKinds(ctx, defined)
		}
		if err != nil {
			return fmt.Errorf("creating the cluster's objects: %w", err)
		}
		if len(bytes.TrimSpace(document)) == 0 { // a file that begins or ends with a marker
			continue
		}
		path, err := collection(document)
		if err != nil {
			return fmt.Errorf("creating the cluster's objects: %w", err)
		}
		// The API server answers "not found" for a moment after a kind was defined.
		for err = a.post(ctx, path, document); hasStatus(err, http.StatusNotFound); err = a.post(ctx, path, document) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("creating the cluster's objects: %w: %w", ctx.Err(), err)
			case <-time.After(50 * time.Millisecond):
			}
		}
		if err != nil {
			return fmt.Errorf("creating the cluster's objects: %w", err)
		}
		var d definition
		if err := yaml.Unmarshal(document, &d); err == nil && d.Kind == "CustomResourceDefinition" {
			defined = append(defined, d)
		}
	}
}

// definition holds the fields of a CustomResourceDefinition that are used here.
type definition struct {
	Kind string
	Spec struct {
		Group string
		Names struct{ Plural string }
	}
}

// awaitKinds waits until discovery lists every definition, because clients learn the kinds from it.
func (a *api) awaitKinds(ctx context.Context, definitions []definition) error {
	for len(definitions) > 0 {
		var discovery struct {
			Items []struct {
				Metadata struct{ Name string }
				Versions []struct {
					Resources []struct{ Resource string }
				}
			}
		}
		if err := a.get(ctx, "/apis", &discovery); err != nil {
			return fmt.Errorf("waiting for the resource definitions: %w", err)
		}
		known := map[string]bool{}
		for _, group := range discovery.Items {
			for _, version := range group.Versions {
				for _, r := range version.Resources {
					known[group.Metadata.Name+"/"+r.Resource] = true
				}
			}
		}
		definitions = slices.DeleteFunc(definitions, func(d definition) bool { return known[d.Spec.Group+"/"+d.Spec.Names.Plural] })
		if len(definitions) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the resource definition %s.%s: %w",
				definitions[0].Spec.Names.Plural, definitions[0].Spec.Group, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// collection returns the path of the collection that an object belongs to.
func collection(document []byte) (string, error) {
	var object struct {
		APIVersion, Kind string
		Metadata         struct{ Namespace string }
	}
	if err := yaml.Unmarshal(document, &object); err != nil {
		return "", err
	}
	group, err := schema.ParseGroupVersion(object.APIVersion)
	if err != nil {
		return "", err
	}
	plural, _ := meta.UnsafeGuessKindToResource(group.WithKind(object.Kind)) // right for every kind that is used here
	elems := []string{"", "apis", group.Group, group.Version}
	if group.Group == "" {
		elems = []string{"", "api", group.Version}
	}
	if object.Metadata.Namespace != "" {
		elems = append(elems, "namespaces", object.Metadata.Namespace)
	}
	return strings.Join(append(elems, plural.Resource), "/"), nil
}
