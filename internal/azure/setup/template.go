package setup

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// template is what is deployed to one resource group.
type template struct {
	subscription, group string
	purpose             string
	parameters          []parameter
	resources           []resource
	outputs             []output
}

// parameter is a value of the deployment, a string.
type parameter struct {
	name, purpose string
	value         any // the default; nil for none
}

type output struct {
	name  string
	value expression
}

// resource is one resource of a template, by the name that others refer to it by.
type resource struct {
	symbol, kind, version, name string
	existing                    bool
	parent                      *resource // whose name comes before the name, for a child
	scope                       *resource // what a role assignment is for
	after                       *resource // what must be made before, although nothing refers to it
	uses                        *resource // what the properties refer to
	located                     bool      // it is in the location of the parameter
	properties                  []property
	purpose                     string
}

type property struct {
	name  string
	value any // string, []string, or expression
}

// expression is what Azure computes, in the words of Bicep and of an ARM template.
type expression struct{ bicep, arm string }

func parameterValue(name string) expression {
	return expression{name, "parameters('" + name + "')"}
}

func propertyOf(r *resource, name string) expression {
	return expression{r.symbol + ".properties." + name, fmt.Sprintf("reference('%s').%s", r.symbol, name)}
}

// groupLocation is the location of the resource group that is deployed to.
var groupLocation = expression{"resourceGroup().location", "resourceGroup().location"}

const principalParameter = "principalId"

// templates are one for the identity's resource group, and one for each other group that it has a role in: a template
// cannot assign roles in another group.
func (id *Identity) templates() []template {
	identity := &resource{
		symbol: "identity", kind: "Microsoft.ManagedIdentity/userAssignedIdentities", version: "2023-01-31", name: id.Name, located: true, purpose: id.Purpose,
	}
	own := template{
		subscription: id.Subscription, group: id.Group, purpose: id.Purpose,
		parameters: []parameter{{"location", "Where the identity is kept.", groupLocation}},
		resources:  []resource{*identity},
		outputs:    []output{{"clientId", propertyOf(identity, "clientId")}, {"objectId", propertyOf(identity, "principalId")}},
	}
	var previous *resource // Entra refuses two writes to the credentials of one identity at a time
	for i, c := range id.Credentials {
		made := resource{
			symbol: fmt.Sprintf("credential%d", i+1), kind: identity.kind + "/federatedIdentityCredentials", version: identity.version, name: c.Name,
			parent: identity, after: previous, purpose: c.Purpose,
			properties: []property{{"issuer", GitHubIssuer}, {"subject", c.Subject}, {"audiences", []string{exchangeAudience}}},
		}
		own.resources = append(own.resources, made)
		previous = &made
	}
	all := []template{own}
	for _, a := range id.Assignments {
		i := 0
		for i < len(all) && !strings.EqualFold(all[i].group, a.Group) {
			i++
		}
		if i == len(all) {
			all = append(all, template{
				subscription: id.Subscription, group: a.Group, purpose: "Roles of the identity " + id.Name + " in this resource group.",
				parameters: []parameter{{principalParameter, "The object ID of the identity " + id.Name + ".", nil}},
			})
		}
		all[i].assign(id, a)
	}
	return all
}

// assign adds a role assignment, and the resource that it is for.
func (t *template) assign(id *Identity, a Assignment) {
	n := len(t.resources)
	on := &resource{symbol: fmt.Sprintf("target%d", n), kind: a.Kind, version: "2023-07-01", name: a.Resource, existing: true}
	if a.Kind == clusterKind {
		on.version = "2024-05-01"
	}
	made := resource{
		symbol: fmt.Sprintf("assignment%d", n), kind: "Microsoft.Authorization/roleAssignments", version: "2022-04-01",
		name: id.assignmentName(a), scope: on, purpose: a.Role.Name + " on " + a.Resource + ". " + a.Purpose,
	}
	principal := parameterValue(principalParameter)
	if t.resources != nil && t.resources[0].symbol == "identity" {
		made.uses = &t.resources[0]
		principal = propertyOf(made.uses, "principalId")
	}
	made.properties = []property{
		{"roleDefinitionId", "/subscriptions/" + id.Subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + a.Role.ID},
		{"principalId", principal},
		{"principalType", "ServicePrincipal"}, // so that Azure does not look for an identity that has not spread yet
		{"description", a.Purpose},
	}
	t.resources = append(t.resources, *on, made)
}

// assignmentName is the same GUID each time, so that a second deployment changes nothing.
func (id *Identity) assignmentName(a Assignment) string {
	parts := []string{id.Subscription, id.Group, id.Name, a.Group, a.Kind, a.Resource, a.Role.ID}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.ToLower(strings.Join(parts, "/")))).String()
}
