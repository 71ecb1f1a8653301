// Package secretstore keeps a session's secrets.
package secretstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/session/secrets"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// Store gives BuildKit the secrets that it asks for, and keeps them out of everything else.
type Store struct {
	Env []string // the caller's environment, as os.Environ returns it

	mu     sync.RWMutex
	values map[string][]byte // by the ID that BuildKit knows
	hidden report.Scrubber
}

var _ secrets.SecretStore = (*Store)(nil)

// GetSecret implements [secrets.SecretStore].
func (s *Store) GetSecret(_ context.Context, id string) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, ok := s.values[id]
	if !ok {
		return nil, fmt.Errorf("%q: %w", id, secrets.ErrNotFound)
	}
	return value, nil
}

// Add makes a secret known under an ID; false says that another one is.
func (s *Store) Add(id, value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.values[id]; ok {
		return string(old) == value
	}
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	s.values[id] = []byte(value)
	s.hidden = report.NewScrubber(append(slices.Clone(s.hidden.Secrets), value))
	return true
}

// Hide returns text without the secrets.
func (s *Store) Hide(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.hidden.Text(text)
}

// Variable returns a variable of the caller's environment.
func (s *Store) Variable(name string) (value string, ok bool) {
	for _, v := range slices.Backward(s.Env) { // the last one counts
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// Plaintext reads a secret from where it is.
func (s *Store) Plaintext(n *api.Node) (name, value string, err error) {
	if n.Field == "setSecret" {
		return n.Args.Str("name"), n.Args.Str("plaintext"), nil
	}
	scheme, rest, _ := strings.Cut(n.Args.Str("uri"), "://")
	switch scheme {
	case "env":
		if value, ok := s.Variable(rest); ok {
			return rest, value, nil
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
