package standin

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// exchangeAudience is the audience that federated credentials have in every cloud.
const exchangeAudience = "api://AzureADTokenExchange"

// accessLifetime is how long an access token of Entra is valid: 60 to 90 minutes in Azure.
const accessLifetime = time.Hour

// The audiences of access tokens: of the container registry service, and of the API servers of AKS.
const (
	registryAudience = "https://containerregistry.azure.net"
	clusterAudience  = "6dae42f8-4368-4678-94ff-3960e28e3630"
)

// audiences are the resources that the tenant knows. Those of the resource manager are known with and without a slash.
var audiences = []string{
	"https://management.azure.com", "https://management.core.windows.net", "https://management.chinacloudapi.cn",
	"https://management.core.chinacloudapi.cn", "https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net",
	"https://vault.azure.net", "https://vault.azure.cn", "https://vault.usgovcloudapi.net",
	registryAudience, clusterAudience,
}

// loginError is an answer of Entra that refuses a request.
type loginError struct {
	status int
	code   int    // AADSTS
	kind   string // as in RFC 6749
	text   string
}

func (e *loginError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.code, e.text) }

func refuse(status, code int, kind, format string, args ...any) *loginError {
	return &loginError{status, code, kind, fmt.Sprintf(format, args...)}
}

func (e *loginError) write(w http.ResponseWriter) {
	writeJSON(w, e.status, map[string]any{
		"error": e.kind, "error_codes": []int{e.code}, "error_description": e.Error() +
			" Trace ID: 00000000-0000-0000-0000-000000000000 Correlation ID: 00000000-0000-0000-0000-000000000000 Timestamp: " + time.Now().UTC().Format("2006-01-02 15:04:05Z"),
		"error_uri": fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", e.code),
	})
}

func (s *Server) loginRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /common/discovery/instance", s.discoverInstance)
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.discoverTenant("/v2.0"))
	mux.HandleFunc("GET /{tenant}/.well-known/openid-configuration", s.discoverTenant(""))
	mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.entra.keySet()) })
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.token)
	mux.HandleFunc("POST /{tenant}/oauth2/token", s.token)
	return mux
}

// discoverInstance lists the clouds' login servers, as
// https://login.microsoftonline.com/common/discovery/instance?api-version=1.1 does.
func (s *Server) discoverInstance(w http.ResponseWriter, r *http.Request) {
	cloud := func(hosts ...string) map[string]any {
		return map[string]any{"preferred_network": hosts[0], "preferred_cache": hosts[0], "aliases": hosts}
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"api-version":               "1.1",
		"tenant_discovery_endpoint": fmt.Sprintf("https://%s/%s/v2.0/.well-known/openid-configuration", r.Host, s.Estate().Tenant),
		"metadata": []any{
			cloud("login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"),
			cloud("login.partner.microsoftonline.cn", "login.chinacloudapi.cn"),
			cloud("login.microsoftonline.us"),
		},
	})
}

// checkTenant answers for an unknown tenant.
func (s *Server) checkTenant(w http.ResponseWriter, r *http.Request) bool {
	if tenant := r.PathValue("tenant"); tenant != s.Estate().Tenant {
		refuse(http.StatusBadRequest, 90002, "invalid_tenant",
			"Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant).write(w)
		return false
	}
	return true
}

// discoverTenant serves OpenID Connect Discovery. The issuer of version 1.0 is the one of access tokens.
func (s *Server) discoverTenant(version string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.checkTenant(w, r) {
			return
		}
		tenant := r.PathValue("tenant")
		base := "https://" + r.Host + "/" + tenant
		issuer := "https://sts.windows.net/" + tenant + "/"
		if version != "" {
			issuer = base + version
		}
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer": issuer, "jwks_uri": base + "/discovery/v2.0/keys",
			"token_endpoint": base + "/oauth2" + version + "/token", "authorization_endpoint": base + "/oauth2" + version + "/authorize",
			"device_authorization_endpoint": base + "/oauth2" + version + "/devicecode",
			"response_types_supported":      []string{"code"}, "subject_types_supported": []string{"pairwise"},
			"id_token_signing_alg_values_supported": []string{"RS256"}, "tenant_region_scope": nil,
		})
	}
}

// token gives access tokens by the client credentials grant: versions 1.0 (resource) and 2.0 (scope).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if !s.checkTenant(w, r) {
		return
	}
	if grant := r.PostFormValue("grant_type"); grant != "client_credentials" {
		refuse(http.StatusBadRequest, 70003, "unsupported_grant_type", "The app requested an unsupported grant type '%s'.", grant).write(w)
		return
	}
	audience, refused := audienceOf(r.PostFormValue("scope"), r.PostFormValue("resource"))
	var identity Identity
	if refused == nil {
		identity, refused = s.authenticate(r)
	}
	if refused != nil {
		refused.write(w)
		return
	}
	seconds := int(accessLifetime.Seconds())
	answer := map[string]any{
		"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds,
		"access_token": s.accessToken(identity, audience, r.PathValue("tenant")),
	}
	if r.PostFormValue("resource") != "" { // version 1.0 writes numbers as text
		answer["expires_in"], answer["expires_on"] = fmt.Sprint(seconds), fmt.Sprint(time.Now().Add(accessLifetime).Unix())
		answer["resource"] = audience
	}
	writeJSON(w, http.StatusOK, answer)
}

// accessToken makes a token of version 1.0, which is what these resources ask for.
func (s *Server) accessToken(identity Identity, audience, tenant string) string {
	return s.issue(s.entra, jwt.MapClaims{
		"iss": "https://sts.windows.net/" + tenant + "/", "tid": tenant, "aud": audience, "ver": "1.0", "idtyp": "app",
		"oid": identity.ObjectID, "sub": identity.ObjectID, "appid": identity.ClientID, "groups": identity.Groups,
	}, accessLifetime)
}

func audienceOf(scope, resource string) (string, *loginError) {
	wanted := resource
	for _, s := range strings.Fields(scope) {
		if base, ok := strings.CutSuffix(s, "/.default"); ok {
			wanted = base
		}
	}
	if wanted == "" {
		return "", refuse(http.StatusBadRequest, 70011, "invalid_scope", "The provided value for the input parameter 'scope' is not valid.")
	}
	if !slices.Contains(audiences, strings.TrimRight(wanted, "/")) {
		return "", refuse(http.StatusBadRequest, 500011, "invalid_resource", "The resource principal named %s was not found in the tenant.", wanted)
	}
	return wanted, nil
}

// authenticate checks who asks for a token.
func (s *Server) authenticate(r *http.Request) (Identity, *loginError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, tenant := r.PostFormValue("client_id"), r.PathValue("tenant")
	identity := find(s.estate.Identities, func(i *Identity) bool { return i.ClientID == id })
	if identity == nil {
		return Identity{}, refuse(http.StatusBadRequest, 700016, "unauthorized_client", "Application with identifier '%s' was not found in the directory '%s'.", id, tenant)
	}
	var refused *loginError
	if assertion := r.PostFormValue("client_assertion"); assertion != "" {
		refused = s.checkAssertion(identity, assertion)
	} else {
		refused = identity.checkSecret(r.PostFormValue("client_secret"))
	}
	if refused == nil && identity.Refused != "" {
		refused = &loginError{status: http.StatusBadRequest, kind: "access_denied"}
		var rest string
		_, _ = fmt.Sscanf(identity.Refused, "AADSTS%d:", &refused.code)
		_, rest, _ = strings.Cut(identity.Refused, ": ")
		refused.text = rest
	}
	return *identity, refused
}

func (i *Identity) checkSecret(value string) *loginError {
	if value == "" {
		return refuse(http.StatusUnauthorized, 7000218, "invalid_client", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	}
	secret := find(i.Secrets, func(s *Secret) bool { return s.Value == value })
	switch {
	case secret == nil:
		return refuse(http.StatusUnauthorized, 7000215, "invalid_client", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", i.ClientID)
	case time.Now().After(secret.Expires):
		return refuse(http.StatusUnauthorized, 7000222, "invalid_client", "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app.", i.ClientID)
	}
	return nil
}

// checkAssertion checks a token that stands for the identity: signed with its own certificate, or by an issuer that one of
// its federated credentials names. https://learn.microsoft.com/entra/workload-id/workload-identity-federation
func (s *Server) checkAssertion(identity *Identity, assertion string) *loginError {
	unchecked := jwt.MapClaims{}
	token, _, err := jwt.NewParser().ParseUnverified(assertion, unchecked)
	if err != nil {
		return refuse(http.StatusUnauthorized, 50027, "invalid_client", "JWT token is invalid or malformed.")
	}
	if claim(unchecked, "iss") == identity.ClientID {
		return identity.checkCertificate(assertion, token)
	}
	by := s.ci[strings.TrimSuffix(claim(unchecked, "iss"), "/"+azureDevOpsOrganization)]
	if by == nil {
		return refuse(http.StatusBadRequest, 700211, "invalid_request", "No matching federated identity record found for presented assertion issuer '%s'.", claim(unchecked, "iss"))
	}
	claims, err := by.verify(assertion)
	if claims == nil {
		return refuse(http.StatusUnauthorized, 50013, "invalid_client", "Assertion failed signature validation.")
	}
	subject, audience := claim(claims, "sub"), claim(claims, "aud")
	match := func(issuer, subject, audience string) *FederatedCredential {
		return find(identity.Federated, func(f *FederatedCredential) bool {
			return f.Issuer == issuer && f.Subject == subject && slices.Contains(f.Audiences, audience)
		})
	}
	credential := match(claim(claims, "iss"), subject, audience)
	switch {
	case credential == nil && audience != exchangeAudience:
		return refuse(http.StatusBadRequest, 700212, "invalid_request", "No matching federated identity record found for presented assertion audience '%s'.", audience)
	case credential == nil && slices.ContainsFunc(identity.Federated, func(f FederatedCredential) bool { return strings.EqualFold(f.Subject, subject) }):
		return refuse(http.StatusBadRequest, 7002138, "invalid_request", "No matching federated identity record found for presented assertion subject '%s'. The subject differs from a record in case only: the comparison is case-sensitive.", subject)
	case credential == nil:
		return refuse(http.StatusBadRequest, 700213, "invalid_request", "No matching federated identity record found for presented assertion subject '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.", subject)
	case errors.Is(err, jwt.ErrTokenExpired), issued(claims).Before(s.estate.AssertionsFrom.Truncate(time.Second)):
		return refuse(http.StatusUnauthorized, 700024, "invalid_client", "Client assertion is not within its valid time range. Current time: %s, expiry time of assertion %v.", time.Now().UTC().Format(time.RFC3339), claims["exp"])
	case credential.Spreading > 0:
		credential.Spreading--
		return refuse(http.StatusBadRequest, 70021, "invalid_request", "No matching federated identity record found for presented assertion. Assertion Issuer: '%s'. Assertion Subject: '%s'. Assertion Audience: '%s'.", claim(claims, "iss"), subject, audience)
	}
	return nil
}

// issued is when a token was made.
func issued(claims jwt.MapClaims) time.Time {
	at, err := claims.GetIssuedAt()
	if err != nil || at == nil {
		return time.Time{}
	}
	return at.Time
}

// checkCertificate checks an assertion that one of the identity's certificates signed; its header names which one.
func (i *Identity) checkCertificate(assertion string, unchecked *jwt.Token) *loginError {
	for _, text := range i.Certificates {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		sum := sha256.Sum256(cert.Raw)
		// The SDK for Go writes it in the standard alphabet, others in that for URLs; Entra takes both.
		if x5t := unchecked.Header["x5t#S256"]; x5t != base64.StdEncoding.EncodeToString(sum[:]) && x5t != base64.RawURLEncoding.EncodeToString(sum[:]) {
			continue
		}
		_, err = jwt.Parse(assertion, func(*jwt.Token) (any, error) { return cert.PublicKey, nil }, jwt.WithExpirationRequired())
		if err == nil {
			return nil
		}
	}
	return refuse(http.StatusUnauthorized, 700027, "invalid_client", "The certificate with identifier used to sign the client assertion is not registered on application.")
}
