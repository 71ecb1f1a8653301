package engine

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

	"dagger.io/dagger/engineconn"
)

// The environment variables by which a Dagger SDK finds the session that its program runs in.
// https://docs.dagger.io/reference/configuration/engine
const (
	envSessionPort  = "DAGGER_SESSION_PORT"
	envSessionToken = "DAGGER_SESSION_TOKEN"
)

// Server serves a session to other programs on this machine, as `dagger run` does.
type Server struct {
	conn     engineconn.EngineConn
	http     *http.Server
	listener net.Listener
	token    string
	done     chan struct{}
}

// Serve listens on a free port of 127.0.0.1. Requests must carry a token that only this process and those that it gives
// the environment to know. The end of ctx ends requests that are under way; Close is still to be called, before the
// session's.
func (s *Session) Serve(ctx context.Context) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &Server{conn: s.conn, listener: listener, token: rand.Text(), done: make(chan struct{})}
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
		return name == envSessionPort || name == envSessionToken
	})
	port := s.listener.Addr().(*net.TCPAddr).Port
	return append(env, envSessionPort+"="+strconv.Itoa(port), envSessionToken+"="+s.token)
}

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
		http.Error(w, "the session token is missing or wrong: "+envSessionToken+" holds it", http.StatusUnauthorized)
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
