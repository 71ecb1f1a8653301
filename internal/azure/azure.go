// Package azure logs in to Microsoft Entra and uses the tokens: for container registries (ACR) and for clusters (AKS). It
// is the only package that imports the Azure SDK.
//
// There is one login for a run, the first kind in [kinds] that is configured, and no other is tried when it fails: a
// delivery that quietly runs as somebody else is worse than one that stops. Whatever proves the identity (an ID token of
// the CI system) is fetched when a token is needed and not before, so that it is fresh after an hour of build and test.
package azure

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Options say where the identity is configured.
type Options struct {
	// Lookup finds a variable of the process's environment.
	Lookup func(name string) (value string, ok bool)
	// LookPath finds a program along PATH, as exec.LookPath does: `az` and `azd`.
	LookPath func(name string) (string, error)
	// Network is the way to Azure, and to the CI system that gives ID tokens.
	Network dial.Network
}

// Client reaches Azure with one login. It is safe for concurrent use.
type Client struct {
	env      environment
	lookPath func(string) (string, error)
	// transport is nil for the SDK's own.
	transport policy.Transporter

	once      sync.Once
	login     *login
	err       error
	announced sync.Once
}

// New returns a client. Nothing is read or sent before a token is needed.
func New(o Options) *Client {
	c := &Client{env: environment{o.Lookup}, lookPath: o.LookPath}
	if !o.Network.Usual() {
		c.transport = &http.Client{Transport: o.Network.Transport(http.DefaultTransport.(*http.Transport))}
	}
	return c
}

// environment finds variables of the process's environment.
type environment struct {
	lookup func(string) (string, bool)
}

func (e environment) get(name string) string {
	value, _ := e.lookup(name)
	return value
}

// login is the credential that was chosen.
type login struct {
	kind       kind
	reason     string // why it was chosen
	credential azcore.TokenCredential
	cloud      cloudOf
	client     string // ID of the application or identity; "" where somebody else has chosen it
	tenant     string
	assertion  *assertion // of kinds that present one
}

// chosen makes the login at the first call. The error is a usage error that names what each kind lacks.
func (c *Client) chosen() (*login, error) {
	c.once.Do(func() { c.login, c.err = c.choose() })
	return c.login, c.err
}

// spreadLimit is how long a federated credential is waited for that Entra does not find although it is there: a new one
// takes minutes to spread. spreadPause is how often it is asked.
const (
	spreadLimit = 3 * time.Minute
	spreadPause = 5 * time.Second
)

// token gets an access token for a scope.
func (c *Client) token(ctx context.Context, scope string) (string, error) {
	got, err := c.accessToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	return got.Token, err
}

// accessToken gets an access token. The credential keeps tokens until they expire.
func (c *Client) accessToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	l, err := c.chosen()
	if err != nil {
		return azcore.AccessToken{}, err
	}
	c.announced.Do(func() { report.Info(ctx, "Azure: %s, %s", l.as(), l.reason) })
	began, noticed := time.Now(), false
	for {
		got, err := l.getToken(ctx, o)
		if err == nil {
			return got, nil
		}
		if codeOf(err) != notSpread || time.Since(began) > spreadLimit {
			return got, fault.Usage(l.explain(err))
		}
		if !noticed {
			report.Info(ctx, "Microsoft Entra does not know the federated credential yet (AADSTS%s): waiting up to %s for a new one to spread", notSpread, report.Span(spreadLimit))
			noticed = true
		}
		select {
		case <-time.After(spreadPause):
		case <-ctx.Done():
			return got, context.Cause(ctx)
		}
	}
}

// programLimit is how long `az` or `azd` may take: the SDK's own limit of ten seconds is too short for a busy machine.
const programLimit = 90 * time.Second

// getToken asks the credential.
func (l *login) getToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if !l.kind.ambient {
		return l.credential.GetToken(ctx, o)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, programLimit, fmt.Errorf("it gave no token within %s", report.Span(programLimit)))
	defer cancel()
	got, err := l.credential.GetToken(ctx, o)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return got, err
}

// codePattern finds an error code of Entra: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var codePattern = regexp.MustCompile(`AADSTS(\d+)`)

// codeOf returns the digits of Entra's error code; "" for any other error.
func codeOf(err error) string {
	if m := codePattern.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

// as names the login for messages: "the login by GitHub Actions as 1234-…".
func (l *login) as() string {
	if l.client == "" {
		return "the login by " + l.kind.name
	}
	return fmt.Sprintf("the login by %s as %s", l.kind.name, l.client)
}

// explaining is a credential for the SDK's clients whose errors have their remedy already.
type explaining struct{ client *Client }

// explainedError is an error of a login inside one of the SDK.
type explainedError struct{ error }

func (e *explainedError) Unwrap() error { return e.error }

// NonRetriable tells the SDK not to try again. https://pkg.go.dev/github.com/Azure/azure-sdk-for-go/sdk/internal/errorinfo
func (e *explainedError) NonRetriable() {}

// GetToken implements azcore.TokenCredential.
func (e *explaining) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	got, err := e.client.accessToken(ctx, o)
	if err != nil {
		return got, &explainedError{err}
	}
	return got, nil
}
