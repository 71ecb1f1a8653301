package azure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"

	"github.com/aksflow/aksflow/internal/azure/setup"
	"github.com/aksflow/aksflow/internal/core/fault"
)

// Difference is one way in which Azure differs from a plan.
type Difference struct {
	Identity string `json:"identity"`
	// Status is missing, different or extra.
	Status string `json:"status"`
	// What says what it is: an identity, a federated credential, a role.
	What string `json:"what"`
	// Detail says what is there, or what it would be for.
	Detail string `json:"detail,omitempty"`
}

// The statuses of a difference.
const (
	missing   = "missing"
	different = "different"
	extra     = "extra" // it is there, and the plan does not have it
)

// Compare reads what a plan's identities are and may do, and returns how that differs from the plan. What is in the clusters
// is not read.
func (c *Client) Compare(ctx context.Context, plan *setup.Plan) ([]Difference, error) {
	var all []Difference
	for _, planned := range plan.Identities {
		found, err := c.compare(ctx, planned)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// comparison is that of one identity.
type comparison struct {
	client *Client
	login  *login
	*setup.Identity
	found []Difference
}

func (c *Client) compare(ctx context.Context, planned *setup.Identity) ([]Difference, error) {
	l, err := c.chosen()
	if err != nil {
		return nil, err
	}
	with := &comparison{client: c, login: l, Identity: planned}
	identities, err := armmsi.NewUserAssignedIdentitiesClient(planned.Subscription, &explaining{c}, l.cloud.armOptions())
	if err != nil {
		return nil, err
	}
	there, err := identities.Get(ctx, planned.Group, planned.Name, nil)
	var answer *azcore.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		with.add(missing, "the identity", planned.Purpose)
		return with.found, nil
	}
	if err != nil {
		return nil, with.explain(ctx, "the identity", err)
	}
	if err := with.credentials(ctx); err != nil {
		return nil, err
	}
	if there.Properties == nil || there.Properties.PrincipalID == nil {
		return nil, fmt.Errorf("Azure answers without the object ID of the identity %s", planned.Name)
	}
	return with.found, with.assignments(ctx, *there.Properties.PrincipalID)
}

func (c *comparison) add(status, what, detail string) {
	c.found = append(c.found, Difference{c.Name, status, what, detail})
}

// credentials compares the federated credentials.
func (c *comparison) credentials(ctx context.Context) error {
	api, err := armmsi.NewFederatedIdentityCredentialsClient(c.Subscription, &explaining{c.client}, c.login.cloud.armOptions())
	if err != nil {
		return err
	}
	there := map[string]*armmsi.FederatedIdentityCredentialProperties{}
	for pager := api.NewListPager(c.Group, c.Name, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return c.explain(ctx, "the federated credentials", err)
		}
		for _, one := range page.Value {
			if one != nil && one.Name != nil && one.Properties != nil {
				there[*one.Name] = one.Properties
			}
		}
	}
	for _, planned := range c.Credentials {
		what := "federated credential " + planned.Name
		found := there[planned.Name]
		delete(there, planned.Name)
		switch {
		case found == nil:
			c.add(missing, what, planned.Purpose)
		case value(found.Subject) != planned.Subject:
			c.add(different, what, fmt.Sprintf("it is for the subject %q, and the plan's is %q", value(found.Subject), planned.Subject))
		case value(found.Issuer) != setup.GitHubIssuer:
			c.add(different, what, fmt.Sprintf("it is for the issuer %q, and the plan's is %q", value(found.Issuer), setup.GitHubIssuer))
		case joined(found.Audiences) != exchangeAudience:
			c.add(different, what, fmt.Sprintf("it is for the audience %q, and the plan's is %q", joined(found.Audiences), exchangeAudience))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		c.add(extra, "federated credential "+name, fmt.Sprintf("it lets %q of %s be the identity", value(there[name].Subject), value(there[name].Issuer)))
	}
	return nil
}

// assignments compares the roles, with those that the identity has by its groups.
func (c *comparison) assignments(ctx context.Context, object string) error {
	api, err := armauthorization.NewRoleAssignmentsClient(c.Subscription, &explaining{c.client}, c.login.cloud.armOptions())
	if err != nil {
		return err
	}
	type held struct{ role, scope string }
	var there []held
	options := &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("assignedTo('" + object + "')")}
	for pager := api.NewListForScopePager("subscriptions/"+c.Subscription, options); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return c.explain(ctx, "the role assignments", err)
		}
		for _, one := range page.Value {
			if one != nil && one.Properties != nil {
				definition := value(one.Properties.RoleDefinitionID)
				there = append(there, held{definition[strings.LastIndex(definition, "/")+1:], value(one.Properties.Scope)})
			}
		}
	}
	for _, planned := range c.Assignments {
		scope := c.ResourceID(planned)
		i := slices.IndexFunc(there, func(h held) bool { return strings.EqualFold(h.role, planned.Role.ID) && covers(h.scope, scope) })
		if i < 0 {
			c.add(missing, "role "+planned.Role.Name+" on "+planned.Resource, planned.Purpose)
			continue
		}
		if !strings.EqualFold(there[i].scope, scope) {
			c.add(different, "role "+planned.Role.Name+" on "+planned.Resource, "it is given on all of "+there[i].scope)
		}
		there = slices.Delete(there, i, i+1)
	}
	for _, one := range there {
		detail := ""
		if c.Environment == "" {
			detail = "whoever opens a pull request decides what its jobs run: take it away"
		}
		c.add(extra, "role "+setup.RoleName(one.role)+" on "+one.scope, detail)
	}
	return nil
}

// covers reports whether a scope is a resource or one above it.
func covers(scope, resource string) bool {
	scope, resource = strings.ToLower(strings.TrimSuffix(scope, "/")), strings.ToLower(resource)
	return resource == scope || strings.HasPrefix(resource, scope+"/")
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// explain says what an error of the resource manager means.
func (c *comparison) explain(ctx context.Context, what string, err error) error {
	var explained *explainedError
	var answer *azcore.ResponseError
	doing := fmt.Sprintf("reading %s of %s", what, c.Name)
	switch {
	case errors.As(err, &explained):
		return fmt.Errorf("%s: %w", doing, explained.error)
	case forbidden(err):
		return fault.Usagef("%s: %s may not: it needs the role Reader on the subscription. A new assignment takes minutes to arrive:\n%s",
			doing, c.login.as(), assign(c.client.objectID(ctx, c.login), "Reader", "/subscriptions/"+c.Subscription))
	case errors.As(err, &answer):
		return fmt.Errorf("%s: Azure answers %d %s", doing, answer.StatusCode, answer.ErrorCode)
	}
	return fmt.Errorf("%s: %w", doing, transportError(err))
}
