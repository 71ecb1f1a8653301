package git

import (
	"context"
	"errors"
	"fmt"
)

// CheckPush finds out whether the server takes a push to a branch from these credentials, as far as it says so before one
// is made. A branch that is protected is refused later.
func (r Remote) CheckPush(ctx context.Context, branch string) (err error) {
	c, err := r.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	session, err := c.transport.NewReceivePackSession(c.endpoint, c.auth)
	if err != nil {
		return c.explain("push to", err)
	}
	defer func() { _ = session.Close() }() // over SSH it reports that nothing was sent
	advertised, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return c.explain("push to", err)
	}
	if advertised.References["refs/heads/"+BranchName(branch)].IsZero() {
		return fmt.Errorf("%s has no branch %s: push one, or name another with gitops.branch", r.URL, BranchName(branch))
	}
	return nil
}
