package standin

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The issuers of CI systems' tokens.
const (
	GitHubIssuer = "https://token.actions.githubusercontent.com"
	GitLabIssuer = "https://gitlab.com"
	// AzureDevOpsIssuer has the organization's ID behind it.
	AzureDevOpsIssuer = "https://vstoken.dev.azure.com"
)

// azureDevOpsOrganization is the ID of the only organization.
const azureDevOpsOrganization = "77777777-7777-7777-7777-777777777777"

// GitHubRequestURL is the value of ACTIONS_ID_TOKEN_REQUEST_URL in a workflow's job, and PipelinesRequestURL that of
// SYSTEM_OIDCREQUESTURI in a pipeline's.
const (
	GitHubRequestURL    = "https://run-actions-1-standin.actions.githubusercontent.com/idtoken/1?api-version=2.0"
	PipelinesRequestURL = "https://dev.azure.com/standin/1/_apis/distributedtask/hubs/build/plans/1/jobs/1/oidctoken"
)

func (s *Server) ciRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /idtoken/{run}", s.gitHubToken)
	mux.HandleFunc("POST /standin/1/_apis/distributedtask/hubs/build/plans/1/jobs/1/oidctoken", s.pipelinesToken)
	mux.HandleFunc("GET /metadata/identity/oauth2/token", s.metadataToken)
	return mux
}

// Job returns what lets a job of the CI system ask for ID tokens with this subject: the value of
// ACTIONS_ID_TOKEN_REQUEST_TOKEN (GitHubIssuer) or SYSTEM_ACCESSTOKEN (AzureDevOpsIssuer). It is valid for as long as a job
// may run.
func (s *Server) Job(issuer, subject string) string {
	return s.issue(s.ci[issuer], jwt.MapClaims{"aud": "request", "job": subject}, 6*time.Hour)
}

// IDToken returns an ID token as a job of the CI system gets it, for Entra.
func (s *Server) IDToken(issuer, subject string) string {
	return s.issue(s.ci[issuer], jwt.MapClaims{"iss": issuer, "aud": exchangeAudience, "sub": subject}, s.o.AssertionLifetime)
}

// job checks the token that lets a job ask for ID tokens, and returns their subject.
func (s *Server) job(issuer string, r *http.Request) (subject string, ok bool) {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	claims, err := s.ci[issuer].verify(token)
	if !strings.EqualFold(kind, "bearer") || err != nil || claim(claims, "aud") != "request" {
		return "", false
	}
	return claim(claims, "job"), true
}

// gitHubToken gives an ID token as a workflow's job gets it.
// https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token
func (s *Server) gitHubToken(w http.ResponseWriter, r *http.Request) {
	subject, ok := s.job(GitHubIssuer, r)
	if !ok {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"message": "Bad credentials"})
		return
	}
	token := s.issue(s.ci[GitHubIssuer], jwt.MapClaims{
		"iss": GitHubIssuer, "aud": r.URL.Query().Get("audience"), "sub": subject,
	}, s.o.AssertionLifetime)
	writeJSON(w, http.StatusOK, map[string]any{"count": len(token), "value": token})
}

// pipelinesToken gives an ID token for a service connection.
// https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create
func (s *Server) pipelinesToken(w http.ResponseWriter, r *http.Request) {
	subject, ok := s.job(AzureDevOpsIssuer, r)
	if !ok || r.URL.Query().Get("serviceConnectionId") == "" {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"message": "TF400813: The user is not authorized to access this resource."})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"oidcToken": s.issue(s.ci[AzureDevOpsIssuer], jwt.MapClaims{
		"iss": AzureDevOpsIssuer + "/" + azureDevOpsOrganization, "aud": exchangeAudience, "sub": subject,
	}, s.o.AssertionLifetime)})
}

// metadataToken gives a token of this machine's managed identity.
// https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
func (s *Server) metadataToken(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	estate := s.Estate()
	identity := find(estate.Identities, func(i *Identity) bool {
		return i.Managed && (query.Get("client_id") == "" || query.Get("client_id") == i.ClientID)
	})
	audience, refused := audienceOf("", query.Get("resource"))
	switch {
	case r.Header.Get("Metadata") != "true":
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "bad_request_102", "error_description": "Required metadata header not specified"})
	case identity == nil:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "Identity not found"})
	case refused != nil:
		refused.write(w)
	default:
		writeJSON(w, http.StatusOK, map[string]any{
			"access_token": s.accessToken(*identity, audience, estate.Tenant), "client_id": identity.ClientID, "resource": query.Get("resource"),
			"token_type": "Bearer", "expires_in": fmt.Sprint(int(accessLifetime.Seconds())), "expires_on": fmt.Sprint(time.Now().Add(accessLifetime).Unix()),
		})
	}
}
