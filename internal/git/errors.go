package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// TransientError is a failure of the network or the server that another try may heal.
type TransientError struct{ Err error }

// Error implements error.
func (e TransientError) Error() string { return e.Err.Error() }
func (e TransientError) Unwrap() error { return e.Err }

// refused returns ErrRaced for a lost race, and an error with the server's reason for any other refusal.
func (c *Clone) refused(branch, status string, remarks remoteLines) error {
	for _, race := range []string{
		"fetch first", "non-fast-forward", "cannot lock ref", "failed to update ref", "failed to lock", "unable to lock",
		"stale info", "reference already exists", "incorrect old value",
	} {
		if strings.Contains(strings.ToLower(status), race) {
			return ErrRaced
		}
	}
	said := ""
	if lines := remarks.String(); lines != "" {
		said = "; the server says: " + lines
	}
	return fmt.Errorf("%s refuses the push to branch %s: %s%s: if the branch is protected, deliver through a pull request (gitops.pullRequest: true) or let this account push",
		c.url, branch, status, said)
}

// explain says what an error of a transport means, and what to do about it. Doing is a verb: "read", "push to".
func (c *Clone) explain(doing string, err error) error {
	var status *githttp.Err
	var netErr net.Error
	var dnsErr *net.DNSError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("cannot %s %s: %w", doing, c.url, err)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return fmt.Errorf("cannot %s %s: there is no such repository, or these credentials may not see it", doing, c.url)
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return fmt.Errorf("cannot %s %s: the repository is empty: commit the manifests first", doing, c.url)
	case errors.Is(err, transport.ErrAuthenticationRequired):
		if c.auth == nil {
			return fmt.Errorf("cannot %s %s: the server wants credentials, and none are configured: name the variable of a token with gitops.passwordEnv, or set AKSFLOW_GIT_TOKEN", doing, c.url)
		}
		return fmt.Errorf("cannot %s %s: the server refuses the credentials: check that the token is right and not expired", doing, c.url)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return fmt.Errorf("cannot %s %s: these credentials may not: give the account write access to the repository", doing, c.url)
	case strings.Contains(err.Error(), "knownhosts:"):
		return fmt.Errorf("cannot %s %s: the host's key is not among the known hosts: check it, and add it with ssh-keyscan: %w", doing, c.url, err)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("cannot %s %s: the SSH key is refused: add its public half to the repository's deploy keys", doing, c.url)
	case errors.As(err, &status):
		err = fmt.Errorf("cannot %s %s: the server answers %s", doing, c.url, status.Response.Status)
		if code := status.StatusCode(); code == http.StatusTooManyRequests || code >= 500 {
			return TransientError{err}
		}
		return err
	case errors.As(err, &dnsErr) && dnsErr.IsNotFound:
		return fmt.Errorf("cannot %s %s: there is no host %s", doing, c.url, dnsErr.Name)
	case errors.As(err, &netErr), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		var urlErr *url.Error
		if errors.As(err, &urlErr) {
			err = urlErr.Err // the message names the remote already
		}
		return TransientError{fmt.Errorf("cannot %s %s: %w", doing, c.url, err)}
	}
	return fmt.Errorf("cannot %s %s: %w", doing, c.url, err)
}
