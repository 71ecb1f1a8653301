// Package serving serves an engine's session to programs that find it as a Dagger SDK does.
package serving

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// Conn is an engine's session, as the SDK's engineconn.EngineConn has it.
type Conn interface {
	Do(r *http.Request) (*http.Response, error)
	Host() string
}

// Server serves a session to other programs on this machine, as `dagger run` does.
type Server struct {
	conn     Conn
	http     *http.Server
	listener net.Listener
	token    string
	done     chan struct{}
}

// Listen serves a session on a free port of 127.0.0.1. Requests must carry a token that only this process and those that it
// gives it to know. The end of ctx ends requests that are under way; Close is still to be called, before the session's.
func Listen(ctx context.Context, conn Conn) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &Server{conn: conn, listener: listener, token: rand.Text(), done: make(chan struct{})}
	server.http = &http.Server{Handler: server, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() {
		defer close(server.done)
		_ = server.http.Serve(listener) // its end is Close's
	}()
	return server, nil
}

// Env returns env, which has the form of os.Environ, with what a Dagger SDK needs to use the session.
func (s *Server) Env(env []string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == contract.SessionPort || name == contract.SessionToken
	})
	port := s.listener.Addr().(*net.TCPAddr).Port
	return append(env, contract.SessionPort+"="+strconv.Itoa(port), contract.SessionToken+"="+s.token)
}

// Address is where the session is served, HOST:PORT.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Token is what requests must carry.
func (s *Server) Token() string { return s.token }

// Close ends the requests that are under way and stops listening.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}

// ServeHTTP passes a GraphQL request on to the engine. SDKs send the token as the user of basic authentication.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, _, _ := r.BasicAuth()
	if subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1 {
		w.Header().Set("WWW-Authenticate", `Basic realm="session token"`)
		http.Error(w, "the session token is missing or wrong: "+contract.SessionToken+" holds it", http.StatusUnauthorized)
		return
	}
	if r.URL.Path != "/query" || r.Method != http.MethodPost {
		http.Error(w, "the session answers POST /query only", http.StatusNotFound)
		return
	}
	request := r.Clone(r.Context())
	request.RequestURI, request.URL.Scheme, request.URL.Host = "", "http", s.conn.Host()
	request.Header.Del("Authorization")
	response, err := s.conn.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	maps.Copy(w.Header(), response.Header)
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body) // the client may have gone
}
