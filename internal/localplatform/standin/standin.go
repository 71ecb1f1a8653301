// Package standin is a stand-in for the parts of Azure that a delivery uses: it speaks their protocols under their real
// host names, so that unmodified clients (the Azure SDK, `az`, kube-apiserver) reach it through a proxy, and it checks what
// they present. It enforces the rights that roles give: a call without the right fails as Azure's does.
//
// What it knows is an [Estate]: a tenant with identities, role assignments, registries and clusters. Tokens are real JSON
// Web Tokens with keys of its own, and clients trust a certificate authority of its own.
//
// It is for tests and for `aksflow up azure`; it holds nothing that is worth a secret.
package standin

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aksflow/aksflow/internal/localplatform/pki"
)

// hosts are the names that the stand-in's certificate is for. Names of API servers of AKS are not among them: the proxy
// forwards connections to them as they are.
var hosts = []string{
	"localhost", "127.0.0.1",
	"login.microsoftonline.com", "login.microsoft.com", "login.windows.net", "sts.windows.net",
	"login.chinacloudapi.cn", "login.partner.microsoftonline.cn", "login.microsoftonline.us", customAuthority,
	"management.azure.com", "management.chinacloudapi.cn", "management.usgovcloudapi.net",
	"*.azurecr.io", "*.azurecr.cn", "*.azurecr.us", "*.vault.azure.net", "*.vault.azure.cn", "*.vault.usgovcloudapi.net",
	"token.actions.githubusercontent.com", "*.actions.githubusercontent.com",
	"dev.azure.com", "vstoken.dev.azure.com", "gitlab.com", "control.standin.example",
}

// customAuthority is a login server that is none of Microsoft's clouds.
const customAuthority = "login.standin.example"

// metadataAddress is where virtual machines ask for tokens of their managed identities, over plain HTTP.
const metadataAddress = "169.254.169.254"

// Options say what the stand-in stands before.
type Options struct {
	// Dir is the directory for certificates: CAFile is in it.
	Dir string
	// Estate is what exists; Server.Change changes it.
	Estate Estate
	// Registry is host:port of a registry over plain HTTP that was started with Server.RegistryConfig.
	Registry string
	// APIServer is host:port of the kube-apiserver behind all clusters of the estate; APIServerCA is the PEM file of the
	// authority that signed its certificate.
	APIServer   string
	APIServerCA string
	// AssertionLifetime is how long the tokens of GitHub, Azure DevOps and GitLab are valid. Zero means GitHub's 5 minutes.
	AssertionLifetime time.Duration
}

// Server is a running stand-in.
type Server struct {
	o       Options
	handler http.Handler
	tls     *tls.Config
	conns   chan net.Conn // from the proxy to the TLS server
	entra   *issuer
	ci      map[string]*issuer // by the name of the issuer
	acr     *issuer

	controlKey string

	mu       sync.Mutex
	estate   Estate
	requests []string // "METHOD HOST/PATH" of each request
	issued   []string // every token
}

// New makes the certificates and keys. Serve must be called before clients can connect.
func New(o Options) (*Server, error) {
	if o.AssertionLifetime == 0 {
		o.AssertionLifetime = 5 * time.Minute
	}
	ca, err := pki.New(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := ca.Server("azure", hosts...); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(ca.File("azure.crt"), ca.File("azure.key"))
	if err != nil {
		return nil, fmt.Errorf("loading the stand-in's certificate: %w", err)
	}
	s := &Server{
		o: o, tls: &tls.Config{Certificates: []tls.Certificate{pair}}, conns: make(chan net.Conn),
		ci: map[string]*issuer{}, estate: o.Estate,
		controlKey: newControlKey(),
	}
	if s.entra, err = newIssuer("entra"); err != nil {
		return nil, err
	}
	if s.acr, err = newIssuer("acr"); err != nil {
		return nil, err
	}
	for _, name := range []string{GitHubIssuer, GitLabIssuer, AzureDevOpsIssuer} {
		if s.ci[name], err = newIssuer(name); err != nil {
			return nil, err
		}
	}
	s.handler = s.routes()
	return s, nil
}

// CAFile is the certificate that clients must trust: SSL_CERT_FILE for Go, REQUESTS_CA_BUNDLE for `az`.
func (s *Server) CAFile() string { return filepath.Join(s.o.Dir, "ca.crt") }

// Change changes the estate.
func (s *Server) Change(change func(*Estate)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.estate)
}

// Estate returns a copy of what exists now.
func (s *Server) Estate() Estate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.estate.clone()
}

// Issued returns every token that was handed out: assertions, access tokens, refresh tokens.
func (s *Server) Issued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// Requests returns "METHOD HOST/PATH" of each request so far.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Serve serves TLS on l, for clients that know its address, and the proxy on proxy. It returns when either ends.
func (s *Server) Serve(l, proxy net.Listener) error {
	failed := make(chan error, 3)
	serve := func(server *http.Server, l net.Listener, secure bool) {
		if secure {
			failed <- server.ServeTLS(l, "", "")
		} else {
			failed <- server.Serve(l)
		}
	}
	own := func(h http.Handler) *http.Server {
		return &http.Server{Handler: h, TLSConfig: s.tls.Clone(), ReadHeaderTimeout: time.Minute}
	}
	go serve(own(s.handler), l, true)
	go serve(own(s.handler), &connListener{s.conns, l.Addr()}, true)
	go serve(own(http.HandlerFunc(s.proxy)), proxy, false)
	return <-failed
}

// routes sends a request to the service that its host name is one of.
func (s *Server) routes() http.Handler {
	login, arm, registry, ci, control := s.loginRoutes(), s.armRoutes(), s.registryRoutes(), s.ciRoutes(), s.controlRoutes()
	vault := s.vaultRoutes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+host+r.URL.Path)
		s.mu.Unlock()
		switch {
		case "https://"+host == ControlURL:
			control.ServeHTTP(w, r)
		case r.URL.Path == AuthorizePath:
			s.authorize(w, r)
		case strings.HasPrefix(host, "management."):
			arm.ServeHTTP(w, r)
		case strings.Contains(host, ".azurecr."):
			registry.ServeHTTP(w, r)
		case strings.Contains(host, ".vault."):
			vault.ServeHTTP(w, r)
		case strings.HasSuffix(host, "githubusercontent.com"), host == "dev.azure.com", host == "vstoken.dev.azure.com", host == "gitlab.com", host == metadataAddress:
			ci.ServeHTTP(w, r)
		default:
			login.ServeHTTP(w, r)
		}
	})
}
