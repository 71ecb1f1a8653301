package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// The variables that an OIDC token for Sigstore comes from.
const (
	varToken        = "SIGSTORE_ID_TOKEN"              // the token itself; GitLab's id_tokens set it
	varGitHubURL    = "ACTIONS_ID_TOKEN_REQUEST_URL"   // of GitHub, with permissions: id-token: write
	varGitHubBearer = "ACTIONS_ID_TOKEN_REQUEST_TOKEN" // goes with it
)

// tokenTimeout bounds the request for a token, and maxToken its answer.
const (
	tokenTimeout = 30 * time.Second
	maxToken     = 1 << 20
)

// CheckCIToken returns an error where a CI run has no OIDC token and no way to one.
func CheckCIToken(lookup func(string) (string, bool)) error {
	token, _ := lookup(varToken)
	address, _ := lookup(varGitHubURL)
	bearer, _ := lookup(varGitHubBearer)
	if token == "" && (address == "" || bearer == "") {
		return fault.Usagef("there is no identity to sign with: on GitHub the job needs `permissions: id-token: write`; elsewhere set %s to an OIDC token for the audience sigstore", varToken)
	}
	return nil
}

// CIToken returns the OIDC token of the CI run, for the audience sigstore: that of SIGSTORE_ID_TOKEN, or one that GitHub
// gives. It reaches no error.
func CIToken(ctx context.Context, lookup func(string) (string, bool), transport http.RoundTripper) (string, error) {
	if token, _ := lookup(varToken); token != "" {
		return token, nil
	}
	if err := CheckCIToken(lookup); err != nil {
		return "", err
	}
	address, _ := lookup(varGitHubURL)
	bearer, _ := lookup(varGitHubBearer)
	u, err := url.Parse(address)
	if err != nil {
		return "", fault.Usagef("the variable %s is no URL", varGitHubURL)
	}
	query := u.Query()
	query.Set("audience", "sigstore")
	u.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "bearer "+bearer)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", fmt.Errorf("asking GitHub for this job's ID token: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ Value string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxToken)).Decode(&answer); resp.StatusCode != http.StatusOK || err != nil || answer.Value == "" {
		return "", fmt.Errorf("asking GitHub for this job's ID token: it answered %s without a token", resp.Status)
	}
	return answer.Value, nil
}
