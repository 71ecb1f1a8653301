package engine

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
)

// secretStore gives BuildKit the secrets that it asks for, and keeps them out of everything else.
type secretStore struct {
	mu     sync.RWMutex
	values map[string][]byte // by the ID that BuildKit knows
	hidden scrubber
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

// add makes a secret known under an ID. Two values under one ID are an error: Dockerfiles name secrets freely.
func (s *secretStore) add(id, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.values[id]; ok {
		if string(old) != value {
			return fmt.Errorf("two secrets of one session are named %q: give each its own name", id)
		}
		return nil
	}
	s.values[id] = []byte(value)
	s.hidden = newScrubber(append(slices.Clone(s.hidden.secrets), value))
	return nil
}

// hide returns text without the secrets.
func (s *secretStore) hide(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.hidden.text(text)
}

// secret works out a Secret: the ID under which BuildKit finds its value. The ID changes with the value, so that what
// used another value runs again.
func (e *Engine) secret(n *node) (id string, err error) {
	name, value, err := plaintext(n)
	if err != nil {
		return "", err
	}
	key := e.mac(value)
	if k := n.args.str("cacheKey"); k != "" {
		key = k
	}
	id = name + "-" + key
	return id, e.secrets.add(id, value)
}

// buildSecret makes a Secret known under its bare name, as Dockerfiles mount it.
func (e *Engine) buildSecret(n *node) (name string, err error) {
	name, value, err := plaintext(n)
	if err != nil {
		return "", err
	}
	return name, e.secrets.add(name, value)
}

// plaintext reads a secret from where it is.
func plaintext(n *node) (name, value string, err error) {
	if n.field == "setSecret" {
		return n.args.str("name"), n.args.str("plaintext"), nil
	}
	scheme, rest, _ := strings.Cut(n.args.str("uri"), "://")
	switch scheme {
	case "env":
		value, ok := os.LookupEnv(rest)
		if !ok {
			return "", "", fmt.Errorf("secret env://%s: the environment variable is not set", rest)
		}
		return rest, value, nil
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

// scrubber replaces secrets in texts.
type scrubber struct {
	secrets  []string
	replacer *strings.Replacer
}

const mask = "***"

func newScrubber(plain []string) scrubber {
	var all []string
	for _, s := range plain {
		all = append(all, s)
		// Output comes line by line, so each line of a long secret is one.
		if lines := strings.Split(strings.TrimSpace(s), "\n"); len(lines) > 1 {
			for _, l := range lines {
				if l = strings.TrimSpace(l); len(l) >= minSecretLine {
					all = append(all, l)
				}
			}
		}
		all = append(all, strings.TrimSpace(s))
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
	// The longest first: a secret may begin with another.
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var pairs []string
	for _, s := range slices.Compact(all) {
		pairs = append(pairs, s, mask)
	}
	return scrubber{secrets: plain, replacer: strings.NewReplacer(pairs...)}
}

// minSecretLine is the shortest line of a secret of several lines that is hidden by itself: hiding "}" everywhere helps
// nobody.
const minSecretLine = 8

func (s scrubber) text(text string) string {
	if s.replacer == nil {
		return text
	}
	return s.replacer.Replace(text)
}
