// Package gitserver serves bare repositories over smart HTTP to clients that send the password. It runs git's own
// `git http-backend`, so that a push is checked and answered as by any server that runs git.
package gitserver

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
)

// Server is a directory of bare repositories, NAME.git each.
type Server struct {
	Root           string
	User, Password string
}

// Handler serves clone, fetch and push, each with the password.
func (s *Server) Handler() (http.Handler, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("serving git: %w; install Debian's package git", err)
	}
	backend := &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Env: []string{
			"GIT_PROJECT_ROOT=" + s.Root, "GIT_HTTP_EXPORT_ALL=1",
			// Only each repository's own configuration, because the user's might rewrite URLs or sign.
			"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if !same(user, s.User) || !same(password, s.Password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "wrong user or password", http.StatusUnauthorized)
			return
		}
		b := *backend
		b.Env = append(b.Env[:len(b.Env):len(b.Env)], "REMOTE_USER="+user) // git refuses a push without it
		b.ServeHTTP(w, r)
	}), nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
