package embedded

import (
	"cmp"
	"fmt"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// secret works out a Secret: the ID under which BuildKit finds its value. BuildKit knows steps by the ID, so it does not
// follow the value, as with Dagger: a token that is issued anew for each run must not run everything anew.
func (e *Engine) secret(n *api.Node) (id string, err error) {
	name, value, err := e.secrets.Plaintext(n)
	if err != nil {
		return "", err
	}
	id = n.Field + "/" + cmp.Or(n.Args.Str("cacheKey"), n.Args.Str("uri"), name)
	if e.secrets.Add(id, value) {
		return id, nil
	}
	id += "/" + e.api.Mac(value) // a second value under one name
	e.secrets.Add(id, value)
	return id, nil
}

// buildSecret makes a Secret known under the name by which Dockerfiles mount it: its own or, for one with a URI, its
// cache key.
func (e *Engine) buildSecret(n *api.Node) error {
	name, value, err := e.secrets.Plaintext(n)
	if err != nil {
		return err
	}
	name = cmp.Or(n.Args.Str("cacheKey"), name)
	if !e.secrets.Add(name, value) {
		return fmt.Errorf("two secrets for Dockerfiles are named %q in one session: give each its own name", name)
	}
	return nil
}
