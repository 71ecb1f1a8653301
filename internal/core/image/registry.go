package image

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// Registry says how a registry is reached and who asks. The zero value asks as Docker would: with what `docker login` or a
// credential helper left in Docker's configuration, over TLS except to this machine and private addresses.
type Registry struct {
	Username string // with Password: instead of Docker's configuration
	Password string // reaches no error and no event

	// Refused says what to do when the registry refuses these credentials: "it needs another role there".
	Refused string

	// Insecure allows plain HTTP to a host that is neither this machine nor a private address.
	Insecure bool

	// Network is the way to the registry, and to the servers that it sends to for tokens and blobs.
	Network dial.Network

	firstPause time.Duration // before the first retry; tests shorten it
}

// attempts bounds how often one request is made. With pauses that double from half a second that takes about 15 seconds,
// unless the registry asks for more.
const attempts = 6

// client speaks to one repository.
type client struct {
	repo   name.Repository
	source string // where the credentials came from, in words
	secret string
	advice string        // what to do when they are refused
	pause  time.Duration // before the first repetition of a whole push
	opts   []remote.Option

	transport http.RoundTripper // with the credentials
}

// connect finds credentials and asks the registry how it wants them. scope is transport.PullScope or transport.PushScope.
func (r Registry) connect(ctx context.Context, repo name.Repository, scope string) (*client, error) {
	c := &client{repo: repo, secret: r.Password, advice: r.Refused}
	auth, err := r.credentials(ctx, c)
	if err != nil {
		return nil, err
	}
	base := pin(r.Network.Transport(remote.DefaultTransport.(*http.Transport)))
	pause := r.firstPause
	if pause == 0 {
		pause = 500 * time.Millisecond
	}
	c.pause = pause
	// Pauses are made by pacer, which knows Retry-After and stops waiting when the context ends; what go-containerregistry
	// adds between attempts is nothing.
	backoff := remote.Backoff{Duration: time.Nanosecond, Factor: 1, Steps: attempts}
	paced := &pacer{inner: base, first: pause, host: repo.RegistryStr()}
	t, err := transport.NewWithContext(ctx, repo.Registry, auth,
		transport.NewRetry(paced,
			transport.WithRetryBackoff(backoff),
			transport.WithRetryPredicate(passing),
			transport.WithRetryStatusCodes(passingCodes...)),
		[]string{repo.Scope(scope)})
	if err != nil {
		return nil, c.explain(ctx, "connect to registry "+repo.RegistryStr(), err)
	}
	c.transport = t
	c.opts = []remote.Option{
		remote.WithTransport(t),
		remote.WithRetryBackoff(backoff),
		remote.WithRetryPredicate(passing),
		remote.WithJobs(jobs),
	}
	return c, nil
}

// dockerConfig is what errors call the file that holds the logins of docker and its credential helpers.
const dockerConfig = "Docker's configuration (config.json in $DOCKER_CONFIG, by default ~/.docker)"

func (r Registry) credentials(ctx context.Context, c *client) (authn.Authenticator, error) {
	host := c.repo.RegistryStr()
	if r.Username != "" || r.Password != "" {
		if r.Username == "" || r.Password == "" {
			return nil, fault.Usagef("credentials for registry %s: a user name and a password are needed, and only one is given", host)
		}
		c.source = fmt.Sprintf("the given user name %q and its password", r.Username)
		return &authn.Basic{Username: r.Username, Password: r.Password}, nil
	}
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, c.repo)
	if err != nil {
		return nil, fmt.Errorf("find credentials for registry %s in %s: %w", host, dockerConfig, err)
	}
	if auth == authn.Anonymous {
		c.source = fmt.Sprintf("none: %s has no entry for %s", dockerConfig, host)
		return auth, nil
	}
	c.source = "those for " + host + " in " + dockerConfig
	got, err := authn.Authorization(ctx, auth)
	if err != nil {
		return nil, fmt.Errorf("find credentials for registry %s in %s: %w", host, dockerConfig, err)
	}
	c.secret = got.Password
	return auth, nil
}

// HasDockerLogin reports whether Docker's configuration has a login for a registry's host.
func HasDockerLogin(ctx context.Context, host string) bool {
	registry, err := name.NewRegistry(host)
	if err != nil {
		return false
	}
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, registry)
	return err == nil && auth != authn.Anonymous
}

// parse reads the name of a repository. The host must stand in it: without one, Docker's rules mean Docker Hub, which is
// where a build should never end up by omission.
func (r Registry) parse(repository string) (name.Repository, error) {
	named, err := ref.Parse(repository)
	if err != nil {
		return name.Repository{}, fault.Usage(err)
	}
	if named.Host() == "" {
		return name.Repository{}, fault.Usagef("repository %q names no registry: it reads HOST/PATH, as in myregistry.azurecr.io/vote or localhost:5000/vote", repository)
	}
	opts := []name.Option{name.StrictValidation}
	if r.Insecure {
		opts = append(opts, name.Insecure)
	}
	repo, err := name.NewRepository(repository, opts...)
	if err != nil {
		return repo, fault.Usagef("repository %q: %w", repository, err)
	}
	return repo, nil
}

// explain says what err means to who reads it: what was tried, what came back, what to do about it.
func (c *client) explain(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx)) // who cancelled wants no details
	}
	remedy := c.remedy(err)
	var answer *transport.Error
	var led *dial.Error
	switch {
	case errors.As(err, &led):
		err = led
	case errors.Is(err, syscall.ECONNREFUSED):
		err = syscall.ECONNREFUSED // once, and not for each scheme that was tried
	case errors.As(err, &answer) && refused(answer.StatusCode):
		err = refusal(answer) // the request that happened to be the first says nothing
	}
	err = fmt.Errorf("%s: %w%s", doing, err, remedy)
	if c.secret != "" && strings.Contains(err.Error(), c.secret) {
		return errors.New(strings.ReplaceAll(err.Error(), c.secret, "***"))
	}
	return err
}

// disallowed reports whether Azure refuses a write because of a lock. It answers so, with 405, to any right.
// https://learn.microsoft.com/azure/container-registry/container-registry-image-lock
func disallowed(answer *transport.Error) bool {
	return slices.ContainsFunc(answer.Errors, func(d transport.Diagnostic) bool { return d.Code == "REGISTRY_DISALLOWED_OPERATION" })
}

func refused(code int) bool { return code == http.StatusUnauthorized || code == http.StatusForbidden }

// refusal is what a registry says to credentials that it does not take.
func refusal(answer *transport.Error) error {
	said := http.StatusText(answer.StatusCode)
	for _, d := range answer.Errors {
		if d.Message != "" {
			said += ": " + d.Message
			break
		}
	}
	return fmt.Errorf("the registry refuses access: %d %s", answer.StatusCode, said)
}

// remedy is what to add to err, "; do this", or nothing.
func (c *client) remedy(err error) string {
	host := c.repo.RegistryStr()
	var (
		answer *transport.Error
		led    *dial.Error
		dns    *net.DNSError
		cert   x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &answer):
		registry, _, _ := strings.Cut(host, ".")
		repository := c.repo.RepositoryStr()
		switch code := answer.StatusCode; {
		case disallowed(answer):
			return fmt.Sprintf("; the repository, the manifest or the tag is locked, or the registry is full: `az acr repository show --name %[1]s --repository %[2]s` shows a repository's changeableAttributes, `--image %[2]s:TAG` in place of the repository those of a tag, and `az acr repository update` with the same and `--write-enabled true` unlocks", registry, repository) +
				softDeleted(registry, repository)
		case code == http.StatusConflict && strings.Contains(host, ".azurecr."):
			return softDeleted(registry, repository)
		case refused(code):
			if c.advice != "" {
				return "; " + c.advice
			}
			return fmt.Sprintf("; credentials used: %s; log in to %s, or use ones that may write to %s", c.source, host, c.repo.RepositoryStr())
		case code == http.StatusNotFound:
			return fmt.Sprintf("; check the repository's name, and whether %s wants it created first", host)
		case code == http.StatusRequestEntityTooLarge:
			return "; the registry, or a proxy before it, takes no body of this size"
		case code == http.StatusTooManyRequests || code >= 500:
			return fmt.Sprintf("; the registry answered so %d times: try again later", attempts)
		}
	case errors.As(err, &led):
		return "; check where --connect-to leads, and that the registry is reached there"
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("; nothing listens at %s: check the address, and that the registry runs (`aksflow up` starts a local one)", host)
	case errors.As(err, &dns):
		return fmt.Sprintf("; check the name of the registry, %s", host)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("; %s speaks plain HTTP, which is used with this machine and private addresses only", host)
	case errors.As(err, &cert):
		return fmt.Sprintf("; make this machine trust who signed the certificate of %s (its CA in the system's store, or SSL_CERT_FILE)", host)
	}
	return ""
}

// softDeleted says what to do where Azure remembers a deleted image: it takes no other one with the digest.
// https://learn.microsoft.com/azure/container-registry/container-registry-soft-delete-policy
func softDeleted(registry, repository string) string {
	return fmt.Sprintf("; where soft delete is on, an image with this digest may have been deleted: `az acr manifest list-deleted --registry %[1]s --name %[2]s` shows it, and `az acr manifest restore --registry %[1]s --name %[2]s:TAG` brings it back", registry, repository)
}

var passingCodes = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
	http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// passing reports whether an error may be gone at the next attempt.
func passing(err error) bool {
	var (
		answer  *transport.Error
		network net.Error
		tooLong *tooLongError
	)
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errDamaged), errors.As(err, &tooLong):
		return false
	case errors.As(err, &answer):
		for _, code := range passingCodes {
			if answer.StatusCode == code {
				return true
			}
		}
		return false
	case errors.As(err, &network) && network.Timeout():
		return true
	default:
		return dropped(err)
	}
}
