package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
)

// tokenUser is the user name that goes with a registry's refresh token as its password.
// https://learn.microsoft.com/azure/container-registry/container-registry-authentication#az-acr-login-with---expose-token
const tokenUser = "00000000-0000-0000-0000-000000000000"

// Registry returns the login for a container registry. It is nil where Azure has none to give: the host is no container
// registry of a known cloud, or no login is configured. ambient means that it is this machine's user who is logged in, so
// that Docker's own login for the registry is the more specific one.
func (c *Client) Registry(host string) (login delivery.Credentials, ambient bool) {
	if !isRegistry(host) {
		return nil, false
	}
	for i, choice := range c.Choices() {
		if choice.Taken {
			return &registryLogin{c, host}, kinds()[i].ambient
		}
	}
	return nil, false
}

// isRegistry reports whether a host is a login server of an Azure container registry, in any cloud.
func isRegistry(host string) bool {
	for _, cloud := range clouds() {
		if strings.HasSuffix(strings.ToLower(host), "."+cloud.registries) {
			return true
		}
	}
	return false
}

// registryLogin is the login for one registry.
type registryLogin struct {
	client *Client
	host   string
}

// Login implements delivery.Credentials: it exchanges an access token of Entra for one of the registry.
// https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
func (r *registryLogin) Login(ctx context.Context) (username, password string, err error) {
	l, err := r.client.chosen()
	if err != nil {
		return "", "", err
	}
	if !strings.HasSuffix(strings.ToLower(r.host), "."+l.cloud.registries) {
		return "", "", fault.Usagef("the registry %s is in another cloud than the login server %s: set %s or %s", r.host, l.cloud.configuration.ActiveDirectoryAuthorityHost, varAuthority, varCloud)
	}
	access, err := r.client.token(ctx, registryScope)
	if err != nil {
		return "", "", fmt.Errorf("logging in to the registry %s: %w", r.host, err)
	}
	client, err := azcontainerregistry.NewAuthenticationClient("https://"+r.host, &azcontainerregistry.AuthenticationClientOptions{ClientOptions: l.cloud.clientOptions()})
	if err != nil {
		return "", "", err
	}
	o := &azcontainerregistry.AuthenticationClientExchangeAADAccessTokenForACRRefreshTokenOptions{AccessToken: &access}
	if l.tenant != "" {
		o.Tenant = &l.tenant
	}
	answer, err := client.ExchangeAADAccessTokenForACRRefreshToken(ctx, azcontainerregistry.PostContentSchemaGrantTypeAccessToken, r.host, o)
	if err != nil {
		return "", "", r.explain(l, readClaims(access), err)
	}
	if answer.RefreshToken == nil {
		return "", "", fmt.Errorf("the registry %s gave no token", r.host)
	}
	return tokenUser, *answer.RefreshToken, nil
}

func (r *registryLogin) explain(l *login, who claims, err error) error {
	var refused *azcore.ResponseError
	switch {
	case !errors.As(err, &refused):
		return fmt.Errorf("logging in to the registry %s: %w", r.host, transportError(err))
	case refused.StatusCode == http.StatusUnauthorized, refused.StatusCode == http.StatusForbidden:
		return fault.Usagef("the registry %s refuses %s (object ID %s): %s", r.host, l.as(), who.Object, rolesFor(r.host, who.Object))
	case refused.StatusCode == http.StatusNotFound:
		return fault.Usagef("there is no registry %s: check its name", r.host)
	case refused.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("the registry %s answers that it gets too many requests, also after the pauses that it asked for: try again later", r.host)
	}
	return fmt.Errorf("logging in to the registry %s: it answers %d %s", r.host, refused.StatusCode, refused.ErrorCode)
}

// rolesFor says which role lets an identity push, in both modes of a registry.
func rolesFor(host, objectID string) string {
	scope := registryResource(host)
	objectID = cmp.Or(objectID, "OBJECT_ID")
	return fmt.Sprintf("it needs the role AcrPush there, or AcrPull to read only; in a registry with repository permissions (ABAC) these are Container Registry Repository Writer and Reader. A new assignment takes minutes to arrive:\n%s\nor, with repository permissions:\n%s",
		assign(objectID, "AcrPush", scope), assign(objectID, "Container Registry Repository Writer", scope))
}

// Refused says what to do when the registry refuses a push or a pull although the login was good.
func (r *registryLogin) Refused() string {
	who := "OBJECT_ID"
	if l, err := r.client.chosen(); err == nil && l.client != "" {
		who = l.client
	}
	return fmt.Sprintf("it needs another role there: AcrPush to push; in a registry with repository permissions (ABAC) Container Registry Repository Writer: az role assignment create --assignee %s --role AcrPush --scope %s",
		who, registryResource(r.host))
}

// registryResource is the registry's resource ID, as a shell finds it. A login server with a domain name label has a hash
// behind the name, which itself has no dashes.
func registryResource(host string) string {
	name, _, _ := strings.Cut(host, ".")
	name, _, _ = strings.Cut(name, "-")
	return fmt.Sprintf("$(az acr show --name %s --query id --output tsv)", name)
}
