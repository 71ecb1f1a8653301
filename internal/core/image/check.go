package image

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// CheckPush asks a registry whether it takes a push to a repository. It starts the upload of a blob and cancels it, so
// nothing is pushed. (go-containerregistry's CheckPushPermission does the same, and takes no context.)
func CheckPush(ctx context.Context, repository string, r Registry) error {
	repo, err := r.parse(repository)
	if err != nil {
		return err
	}
	c, err := r.connect(ctx, repo, transport.PushScope)
	if err != nil {
		return err
	}
	uploads := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/blobs/uploads/"}
	started, err := c.ask(ctx, http.MethodPost, uploads.String())
	if err == nil {
		err = transport.CheckError(started, http.StatusAccepted, http.StatusCreated)
	}
	if err != nil {
		return c.explain(ctx, "push to "+repository, err)
	}
	if location, err := started.Location(); err == nil {
		_, _ = c.ask(ctx, http.MethodDelete, location.String()) // the registry forgets an upload by itself, too
	}
	return nil
}

// ask sends a request without a body. The body of the answer can be read; it holds no connection.
func (c *client) ask(ctx context.Context, method, address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: c.transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	answer.Body = io.NopCloser(bytes.NewReader(content))
	return answer, err
}
