package embedded

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/session/secrets"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/scrub"
)

// secretStore gives BuildKit the secrets that it asks for, and keeps them out of everything else.
type secretStore struct {
	env    []string // the caller's environment
	mu     sync.RWMutex
	values map[string][]byte // by the ID that BuildKit knows
	hidden scrub.Scrubber
}

var _ secrets.SecretStore = (*secretStore)(nil)

// GetSecret implements [secrets.SecretStore].
func (s *secretStore) GetSecret(_ context.Context, id string) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, ok := s.values[id]
	if !ok {
		return nil, fmt.Errorf("%q: %w", id, secrets.ErrNotFound)
	}
	return value, nil
}

// add makes a secret known under an ID; false says that another one is.
func (s *secretStore) add(id, value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.values[id]; ok {
		return string(old) == value
	}
	s.values[id] = []byte(value)
	s.hidden = scrub.New(append(slices.Clone(s.hidden.Secrets), value))
	return true
}

// hide returns text without the secrets.
func (s *secretStore) hide(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.hidden.Text(text)
}

// secret works out a Secret: the ID under which BuildKit finds its value. BuildKit knows steps by the ID, so it does not
// follow the value, as with Dagger: a token that is issued anew for each run must not run everything anew.
func (e *Engine) secret(n *api.Node) (id string, err error) {
	name, value, err := e.secrets.plaintext(n)
	if err != nil {
		return "", err
	}
	id = n.Field + "/" + cmp.Or(n.Args.Str("cacheKey"), n.Args.Str("uri"), name)
	if e.secrets.add(id, value) {
		return id, nil
	}
	id += "/" + e.api.Mac(value) // a second value under one name
	e.secrets.add(id, value)
	return id, nil
}

// buildSecret makes a Secret known under the name by which Dockerfiles mount it: its own or, for one with a URI, its
// cache key.
func (e *Engine) buildSecret(n *api.Node) error {
	name, value, err := e.secrets.plaintext(n)
	if err != nil {
		return err
	}
	name = cmp.Or(n.Args.Str("cacheKey"), name)
	if !e.secrets.add(name, value) {
		return fmt.Errorf("two secrets for Dockerfiles are named %q in one session: give each its own name", name)
	}
	return nil
}

// plaintext reads a secret from where it is.
func (s *secretStore) plaintext(n *api.Node) (name, value string, err error) {
	if n.Field == "setSecret" {
		return n.Args.Str("name"), n.Args.Str("plaintext"), nil
	}
	scheme, rest, _ := strings.Cut(n.Args.Str("uri"), "://")
	switch scheme {
	case "env":
		for _, v := range slices.Backward(s.env) { // the last one counts
			if value, ok := strings.CutPrefix(v, rest+"="); ok {
				return rest, value, nil
			}
		}
		return "", "", fmt.Errorf("secret env://%s: the environment variable is not set", rest)
	case "file":
		data, err := os.ReadFile(rest)
		if err != nil {
			return "", "", fmt.Errorf("secret file://%s: %w", rest, err)
		}
		return filepath.Base(rest), string(data), nil
	default:
		return "", "", fmt.Errorf("secret %s://…: the embedded engine reads secrets from env:// and file://; others need a Dagger engine (--engine dagger)", scheme)
	}
}
