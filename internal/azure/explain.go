package azure

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Error codes of Entra that have a remedy.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
const (
	notSpread       = "70021"   // no federated credential matches: a new one may not have spread yet
	wrongSubject    = "700213"  // no federated credential has this subject
	wrongCase       = "7002138" // one has, but in other letters' case
	wrongIssuer     = "700211"
	wrongAudience   = "700212"
	assertionOld    = "700024" // the ID token has expired
	wrongSecret     = "7000215"
	secretExpired   = "7000222"
	wrongCert       = "700027"
	noClient        = "700016"
	noTenant        = "90002"
	noResource      = "500011"
	conditional     = "53003" // Conditional Access
	otherTenantUser = "50020"
	needsSignIn     = "50173" // a password was changed, or the sessions were revoked
	needsMFA        = "50076"
)

// explain says what an error of the login means and what to do.
func (l *login) explain(err error) error {
	code := codeOf(err)
	if code == "" {
		return fmt.Errorf("%s failed: %w", l.as(), l.short(err))
	}
	return fmt.Errorf("Microsoft Entra refuses %s (AADSTS%s): %s", l.as(), code, l.remedy(code, err))
}

// remedy says what the code means and what to do.
func (l *login) remedy(code string, err error) string {
	switch code {
	case notSpread, wrongSubject, wrongCase, wrongIssuer, wrongAudience:
		return l.federatedCredential(code)
	case assertionOld:
		return l.oldAssertion()
	case wrongSecret:
		return fmt.Sprintf("%s is not a secret of the application: it must be the secret's value, not its ID. `az ad app credential reset --id %s` makes a new one", varSecret, l.client)
	case secretExpired:
		return fmt.Sprintf("%s has expired: `az ad app credential reset --id %s` makes a new one; a federated credential needs no secret", varSecret, l.client)
	case wrongCert:
		return fmt.Sprintf("the certificate of %s is not one of the application's: `az ad app credential reset --id %s --cert @FILE --append` adds it", varCert, l.client)
	case noClient:
		return fmt.Sprintf("the tenant %s has no application or identity %s: check %s and %s", l.tenant, l.client, varClient, varTenant)
	case noTenant:
		return fmt.Sprintf("there is no tenant %q at %s: check %s, and %s for another cloud", l.tenant, l.cloud.configuration.ActiveDirectoryAuthorityHost, varTenant, varAuthority)
	case noResource:
		return fmt.Sprintf("the tenant %s does not know the service that the token is for: check that it is a tenant of the cloud %s", l.tenant, l.cloud.name)
	case conditional:
		return "a Conditional Access policy blocks it, by the address or the machine that it comes from: run where the policy allows it, or ask for an exception for this workload identity"
	case otherTenantUser:
		return fmt.Sprintf("the user who is logged in belongs to another tenant: `az login --tenant %s`", cmp.Or(l.tenant, "TENANT"))
	case needsSignIn, needsMFA:
		return "the user has to sign in anew: `az login`"
	}
	return strings.TrimPrefix(description(err), "AADSTS"+code+": ")
}

// federatedCredential shows what was presented, and the credential that would match it.
func (l *login) federatedCredential(code string) string {
	if l.assertion == nil {
		return "no federated credential matches the token that was presented: log in with another one"
	}
	p := l.assertion.presented()
	wanted, err := json.MarshalIndent(map[string]any{
		"name": credentialName(p.Subject), "issuer": p.Issuer, "subject": p.Subject, "audiences": []string{exchangeAudience},
	}, "", "  ")
	if err != nil {
		return err.Error()
	}
	what := fmt.Sprintf("none of its federated credentials has the subject %q", p.Subject)
	switch code {
	case notSpread:
		what = fmt.Sprintf("%s after its first refusal none of its federated credentials matches", report.Span(spreadLimit))
	case wrongCase:
		what = fmt.Sprintf("one of its federated credentials differs from the subject %q in upper and lower case only: the case counts", p.Subject)
	case wrongIssuer:
		what = fmt.Sprintf("none of its federated credentials has the issuer %q", p.Issuer)
	case wrongAudience:
		what = fmt.Sprintf("none of its federated credentials has the audience %q", p.Audience)
	}
	return fmt.Sprintf(`%s. This one would match, where that is meant to deliver:
%s
For an application: az ad app federated-credential create --id %s --parameters FILE
For a managed identity: az identity federated-credential create --resource-group GROUP --identity-name NAME --name %s --issuer '%s' --subject '%s' --audiences %s`,
		what, wanted, l.client, credentialName(p.Subject), p.Issuer, p.Subject, exchangeAudience)
}

var notInName = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// credentialName makes a name of a subject: letters, digits and dashes, 120 at most, as Entra wants.
func credentialName(subject string) string {
	name := strings.Trim(notInName.ReplaceAllString(subject, "-"), "-")
	return name[:min(len(name), 120)]
}

// oldAssertion says why a token was too old that is fetched when it is needed.
func (l *login) oldAssertion() string {
	switch {
	case l.kind.ambient:
		return l.kind.name + " keeps the ID token that it was given, which lives a few minutes, and asks for each further token with it: in GitHub Actions leave azure/login out and give the job `permissions: id-token: write` with " +
			varClient + " and " + varTenant + ", elsewhere log in anew"
	case l.kind.name == tokenFile:
		expired := time.Unix(l.assertion.presented().Expires, 0).UTC().Format(time.RFC3339)
		return fmt.Sprintf("the token in the file of %s expired at %s. GitLab's id_tokens cannot be renewed in a job: make it right before aksflow, and keep long builds in a job of their own (`aksflow build -o FILE`)", varTokenFile, expired)
	}
	return "its ID token was not valid at this moment: check the clock of this machine"
}

// description is Entra's own text, without its trace IDs.
func description(err error) string {
	var failed *azidentity.AuthenticationFailedError
	var body []byte
	if errors.As(err, &failed) && failed.RawResponse != nil {
		body, _ = runtime.Payload(failed.RawResponse)
	}
	var answer struct {
		Description string `json:"error_description"`
	}
	text := err.Error()
	if json.Unmarshal(body, &answer) == nil && answer.Description != "" {
		text = answer.Description
	}
	if i := strings.Index(text, "AADSTS"); i >= 0 {
		text = text[i:]
	}
	for _, tail := range []string{" Trace ID:", "\nTrace ID:", "\r\n"} {
		text, _, _ = strings.Cut(text, tail)
	}
	return text
}

// short returns the part of an SDK's error that says what happened: its own text is a page long.
func (l *login) short(err error) error {
	var failed *azidentity.AuthenticationFailedError
	switch {
	case errors.As(err, &failed) && failed.RawResponse != nil:
		text := description(err)
		if lines := strings.Split(text, "\n"); len(lines) > 1 {
			text = lines[0]
		}
		return fmt.Errorf("%s: %s", failed.RawResponse.Status, text)
	case l.kind.ambient:
		text, _, _ := strings.Cut(err.Error(), "\n")
		return errors.New(text)
	}
	return transportError(err)
}

// forbidden reports whether ARM refused a call for the lack of a right.
func forbidden(err error) bool {
	var answer *azcore.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == 403 && answer.ErrorCode != "RequestDisallowedByPolicy"
}

// assign is the command that gives a role to an identity.
func assign(objectID, role, scope string) string {
	return fmt.Sprintf("az role assignment create --assignee-object-id %s --assignee-principal-type ServicePrincipal --role '%s' --scope %s", objectID, role, scope)
}
