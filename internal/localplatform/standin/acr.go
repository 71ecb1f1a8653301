package standin

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// registryService is the name under which the real registry knows the tokens that are for it. Clients see the name of the
// registry that they asked.
const registryService = "acr.standin.example"

const (
	refreshLifetime  = 3 * time.Hour
	registryLifetime = time.Hour
)

// tokenUser is the user name that goes with a refresh token as its password.
const tokenUser = "00000000-0000-0000-0000-000000000000"

func base64Text(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

// RegistryConfig returns the "auth" section for the configuration of distribution's registry that stands behind the
// estate's registries. It writes the key that the registry checks tokens with.
func (s *Server) RegistryConfig() (map[string]any, error) {
	keys, err := json.Marshal(s.acr.keySet())
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.o.Dir, "acr-keys.json")
	if err := os.WriteFile(file, keys, 0o600); err != nil {
		return nil, fmt.Errorf("writing the registry's keys: %w", err)
	}
	return map[string]any{"token": map[string]any{
		"realm": "https://" + registryService + "/oauth2/token", "service": registryService, "issuer": "Azure Container Registry",
		"jwks": file, "signingalgorithms": []string{"RS256"},
	}}, nil
}

func (s *Server) registryRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth2/exchange", s.exchange)
	mux.HandleFunc("/oauth2/token", s.registryToken)
	mux.HandleFunc("PATCH /acr/v1/", s.tagAttributes)
	mux.Handle("/v2/", s.registryProxy())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		registry := find(s.estate.Registries, func(g *Registry) bool { return g.Login == r.Host })
		throttled := registry != nil && registry.Throttled > 0
		repository, tag, manifest := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
		locked := registry != nil && manifest && r.Method == http.MethodPut &&
			(slices.Contains(registry.Locked, repository) || slices.Contains(registry.LockedTags, repository+":"+tag))
		if throttled {
			registry.Throttled--
		}
		s.mu.Unlock()
		switch {
		case registry == nil:
			registryError(w, http.StatusNotFound, "NAME_UNKNOWN", "no such registry: "+r.Host)
		case throttled:
			w.Header().Set("Retry-After", "1")
			registryError(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests")
		case locked:
			registryError(w, http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION", "The operation is disallowed on this registry, repository or image. View troubleshooting steps at https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func registryError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}})
}

func unauthorized(w http.ResponseWriter) {
	registryError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required, visit https://aka.ms/acr/authorization for more information.")
}

// registryProxy passes on what the real registry answers, with the names that the client knows.
func (s *Server) registryProxy() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: s.o.Registry})
			p.Out.Host = p.In.Host
			p.Out.Header.Set("X-Forwarded-Proto", "https")
		},
		ModifyResponse: func(answer *http.Response) error {
			if challenge := answer.Header.Get("WWW-Authenticate"); challenge != "" {
				answer.Header.Set("WWW-Authenticate", strings.ReplaceAll(challenge, registryService, answer.Request.Host))
			}
			return nil
		},
	}
}

// exchange gives a refresh token of the registry for an access token of Entra.
// https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	estate := s.Estate()
	registry := find(estate.Registries, func(g *Registry) bool { return g.Login == r.Host })
	claims, err := s.entra.verify(r.PostFormValue("access_token"))
	audience := claim(claims, "aud")
	forARM := strings.Contains(audience, "://management.")
	switch {
	case !slices.Contains([]string{"access_token", "access_token_refresh_token"}, r.PostFormValue("grant_type")), r.PostFormValue("service") != registry.Login:
		registryError(w, http.StatusBadRequest, "BAD_REQUEST", "grant_type or service is not valid")
		return
	case err != nil, claim(claims, "tid") != estate.Tenant, r.PostFormValue("tenant") != "" && r.PostFormValue("tenant") != estate.Tenant,
		strings.TrimRight(audience, "/") != registryAudience && (!forARM || registry.NoARMTokens),
		len(rights(estate, registry, claim(claims, "oid"))) == 0:
		unauthorized(w)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"refresh_token": s.issue(s.acr, jwt.MapClaims{
		"iss": "Azure Container Registry", "aud": registry.Login, "sub": claim(claims, "oid"), "grant_type": "refresh_token", "version": "1.0",
	}, refreshLifetime)})
}

// rights are what an identity may do in a registry: pull, push.
func rights(estate Estate, registry *Registry, objectID string) []string {
	pull, push := pullRegistry, pushRegistry
	if registry.Repositories {
		pull, push = readRepository, writeRepository
	}
	var may []string
	if estate.may(objectID, pull, registry.ID) {
		may = append(may, "pull")
	}
	if estate.may(objectID, push, registry.ID) {
		may = append(may, "push")
	}
	if estate.may(objectID, writeMetadata, registry.ID) {
		may = append(may, metadataWrite)
	}
	return may
}

// metadataWrite is the action of a token with which the attributes of tags can be changed.
const metadataWrite = "metadata_write"

// access are the rights of a token in a repository.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// tagAttributes locks a tag, or unlocks it.
// https://learn.microsoft.com/rest/api/containerregistry/tag/update-attributes
func (s *Server) tagAttributes(w http.ResponseWriter, r *http.Request) {
	repository, tag, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/acr/v1/"), "/_tags/")
	var body struct {
		WriteEnabled *bool `json:"writeEnabled"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !ok || body.WriteEnabled == nil {
		registryError(w, http.StatusBadRequest, "BAD_REQUEST", "want the attributes of a tag")
		return
	}
	if !s.mayChange(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), repository) {
		unauthorized(w)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	registry := find(s.estate.Registries, func(g *Registry) bool { return g.Login == r.Host })
	name := repository + ":" + tag
	registry.LockedTags = slices.DeleteFunc(slices.Clone(registry.LockedTags), func(locked string) bool { return locked == name })
	if !*body.WriteEnabled {
		registry.LockedTags = append(registry.LockedTags, name)
	}
	w.WriteHeader(http.StatusOK)
}

// mayChange reports whether a registry's token is for the attributes of a repository.
func (s *Server) mayChange(token, repository string) bool {
	claims, err := s.acr.verify(token)
	if err != nil || claim(claims, "grant_type") != "access_token" {
		return false
	}
	text, err := json.Marshal(claims["access"])
	if err != nil {
		return false
	}
	var granted []access
	return json.Unmarshal(text, &granted) == nil && slices.ContainsFunc(granted, func(a access) bool {
		return a.Type == "repository" && a.Name == repository && slices.Contains(a.Actions, metadataWrite)
	})
}

// registryToken gives a token for the repositories that are asked for, with those rights of them that the identity has. The
// refresh token is a form's value, or the password of tokenUser.
func (s *Server) registryToken(w http.ResponseWriter, r *http.Request) {
	estate := s.Estate()
	registry := find(estate.Registries, func(g *Registry) bool { return g.Login == r.Host })
	refresh := r.FormValue("refresh_token")
	if user, password, ok := r.BasicAuth(); ok && user == tokenUser {
		refresh = password
	}
	claims, err := s.acr.verify(refresh)
	if err != nil || claim(claims, "aud") != registry.Login || claim(claims, "grant_type") != "refresh_token" || r.FormValue("service") != registry.Login {
		unauthorized(w)
		return
	}
	granted := []access{}
	may := rights(estate, registry, claim(claims, "sub"))
	for _, scope := range strings.Fields(strings.Join(r.Form["scope"], " ")) {
		kind, rest, _ := strings.Cut(scope, ":")
		i := strings.LastIndex(rest, ":")
		if kind != "repository" || i < 0 {
			continue
		}
		actions := slices.DeleteFunc(strings.Split(rest[i+1:], ","), func(action string) bool { return !slices.Contains(may, action) })
		if len(actions) > 0 {
			granted = append(granted, access{kind, rest[:i], actions})
		}
	}
	if len(granted) == 0 && len(r.Form["scope"]) > 0 {
		unauthorized(w)
		return
	}
	token := s.issue(s.acr, jwt.MapClaims{
		"iss": "Azure Container Registry", "aud": registryService, "sub": claim(claims, "sub"), "access": granted, "grant_type": "access_token",
	}, registryLifetime)
	writeJSON(w, http.StatusOK, map[string]string{"access_token": token})
}
