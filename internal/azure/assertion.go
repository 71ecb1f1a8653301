package azure

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// exchangeAudience is the audience that Entra wants of an ID token, in every cloud.
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation
const exchangeAudience = "api://AzureADTokenExchange"

// assertion is an ID token of another issuer that stands for the identity. It is fetched anew each time that it is needed.
type assertion struct {
	fetch func(context.Context) (string, error)

	mu   sync.Mutex
	last claims
}

// claims are what a federated credential matches. They are not checked here, only shown.
type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience any    `json:"aud"`
	Expires  int64  `json:"exp"`
	Object   string `json:"oid"` // of Entra's own tokens
}

// readClaims reads a JSON Web Token without checking it; nothing for what is none.
func readClaims(token string) claims {
	var c claims
	if parts := strings.Split(token, "."); len(parts) == 3 {
		if data, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(data, &c)
		}
	}
	return c
}

// get is the callback of azidentity's ClientAssertionCredential.
func (a *assertion) get(ctx context.Context) (string, error) {
	token, err := a.fetch(ctx)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = readClaims(token)
	return token, nil
}

// presented returns the claims of the last token.
func (a *assertion) presented() claims {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// gitHubToken asks GitHub for an ID token of this job.
// https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token
func (c *Client) gitHubToken(ctx context.Context) (string, error) {
	address, err := url.Parse(c.env.get(varGitHubURL))
	if err != nil {
		return "", fault.Usagef("the variable %s is no URL", varGitHubURL)
	}
	query := address.Query()
	query.Set("audience", exchangeAudience)
	address.RawQuery = query.Encode()
	var answer struct{ Value string }
	if err := c.ask(ctx, http.MethodGet, address.String(), c.env.get(varGitHubToken), &answer); err != nil {
		return "", fmt.Errorf("asking GitHub for this job's ID token: %w", err)
	}
	return answer.Value, nil
}

// pipelinesToken asks Azure DevOps for an ID token of a service connection.
// https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create
func (c *Client) pipelinesToken(ctx context.Context) (string, error) {
	address := c.env.get(varPipelinesURL) + "?api-version=7.1&serviceConnectionId=" + url.QueryEscape(c.env.get(varPipelinesConnection))
	var answer struct{ OidcToken string }
	if err := c.ask(ctx, http.MethodPost, address, c.env.get(varPipelinesToken), &answer); err != nil {
		return "", fmt.Errorf("asking Azure Pipelines for an ID token of the service connection %s: %w", c.env.get(varPipelinesConnection), err)
	}
	return answer.OidcToken, nil
}

// fileToken reads the token of AZURE_FEDERATED_TOKEN_FILE, which its owner renews.
func (c *Client) fileToken(context.Context) (string, error) {
	content, err := os.ReadFile(c.env.get(varTokenFile))
	if err != nil {
		return "", fault.Usage(fmt.Errorf("the file that the variable %s names cannot be read: %w", varTokenFile, err))
	}
	token := strings.TrimSpace(string(content))
	if readClaims(token).Issuer == "" {
		return "", fault.Usagef("the file that the variable %s names, %s, holds no token (a JSON Web Token: three parts with dots between them)", varTokenFile, c.env.get(varTokenFile))
	}
	return token, nil
}

// askLimit is how long a CI system may take to give an ID token, with the retries.
const askLimit = time.Minute

// ask sends a request with a bearer token and reads the JSON of the answer. Errors that may pass are retried, as the SDK
// does. The token reaches no error.
func (c *Client) ask(ctx context.Context, method, address, bearer string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	request, err := runtime.NewRequest(ctx, method, address)
	if err != nil {
		return errors.New("the address is not valid")
	}
	request.Raw().Header.Set("Authorization", "Bearer "+bearer)
	request.Raw().Header.Set("Accept", "application/json")
	request.Raw().Header.Set("X-TFS-FedAuthRedirect", "Suppress") // Azure DevOps: 401 in place of a page to sign in
	if method == http.MethodPost {
		request.Raw().Header.Set("Content-Type", "application/json")
		request.Raw().Header.Set("Content-Length", "0")
	}
	answer, err := runtime.NewPipeline("aksflow", "", runtime.PipelineOptions{}, &policy.ClientOptions{Transport: c.transport}).Do(request)
	if err != nil {
		return fmt.Errorf("%s did not answer: %w", request.Raw().URL.Host, transportError(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", request.Raw().URL.Host, answer.Status)
	}
	return runtime.UnmarshalAsJSON(answer, into)
}

// transportError strips the URL, whose query names the job.
func transportError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
