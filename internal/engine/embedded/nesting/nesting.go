// Package nesting gives containers a session of the engine that runs them.
package nesting

import (
	"context"
	"net/http"
	"sync"

	"github.com/aksflow/aksflow/internal/engine/embedded/secretstore"
	"github.com/aksflow/aksflow/internal/engine/embedded/sockets"
	"github.com/aksflow/aksflow/internal/engine/serving"
)

// token is the ID under which BuildKit asks for the session's token. It is the same in each session, like the socket's:
// both are part of a step's cache key, what they lead to is not.
const token = "nested/session-token"

// Session is the session that the containers of an engine's session get. Its address and token differ each time, so BuildKit
// asks for them as for a socket and a secret when a container starts.
type Session struct {
	Do      func(r *http.Request) (*http.Response, error) // answers a GraphQL request
	Secrets *secretstore.Store
	Sockets *sockets.Forwarder

	mu     sync.Mutex
	server *serving.Server
}

// Open serves the session until Close, if that is not done yet. It returns the IDs by which BuildKit asks for the socket and
// for the token.
func (s *Session) Open(ctx context.Context) (socketID, tokenID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		if s.server, err = serving.Listen(ctx, conn(s.Do)); err != nil {
			return "", "", err
		}
		s.Secrets.Add(token, s.server.Token())
	}
	return s.Sockets.AddSession(s.server.Address()), token, nil
}

// Close ends the requests that are under way.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return nil
	}
	return s.server.Close()
}

// conn is a session that is reached by calling a function.
type conn func(r *http.Request) (*http.Response, error)

func (c conn) Do(r *http.Request) (*http.Response, error) { return c(r) }
func (conn) Host() string                                 { return "embedded" }
