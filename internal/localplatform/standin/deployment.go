package standin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// template is an ARM template in its language version 2.0, as far as the stand-in knows it: anything else is refused.
// https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax
type template struct {
	Schema          string `json:"$schema"`
	LanguageVersion string `json:"languageVersion"`
	ContentVersion  string `json:"contentVersion"`
	Metadata        any    `json:"metadata"`
	Parameters      map[string]struct {
		Type         string  `json:"type"`
		DefaultValue *string `json:"defaultValue"`
		Metadata     any     `json:"metadata"`
	} `json:"parameters"`
	Resources map[string]templateResource `json:"resources"`
	Outputs   map[string]struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	} `json:"outputs"`
}

type templateResource struct {
	Type       string   `json:"type"`
	APIVersion string   `json:"apiVersion"`
	Name       string   `json:"name"`
	Existing   bool     `json:"existing"`
	Comments   string   `json:"comments"`
	DependsOn  []string `json:"dependsOn"`
	Scope      string   `json:"scope"`
	Location   string   `json:"location"`
	Properties struct {
		Issuer           string   `json:"issuer"`
		Subject          string   `json:"subject"`
		Audiences        []string `json:"audiences"`
		RoleDefinitionID string   `json:"roleDefinitionId"`
		PrincipalID      string   `json:"principalId"`
		PrincipalType    string   `json:"principalType"`
		Description      string   `json:"description"`
	} `json:"properties"`
}

// deployment is one that runs.
type deployment struct {
	estate     *Estate
	group      string // ID of the resource group
	template   template
	parameters map[string]string
	done       map[string]bool // by symbolic name
}

// Deploy deploys an ARM template to a resource group of the estate's subscription, and returns its outputs. It knows
// identities, their federated credentials, and role assignments on the registries and clusters that are there.
func (e *Estate) Deploy(group string, content []byte, parameters map[string]string) (outputs map[string]string, err error) {
	d := &deployment{
		estate: e, group: "/subscriptions/" + e.Subscription + "/resourceGroups/" + group, parameters: maps.Clone(parameters), done: map[string]bool{},
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d.template); err != nil {
		return nil, fmt.Errorf("InvalidTemplate: %w", err)
	}
	if d.template.LanguageVersion != "2.0" || !strings.Contains(d.template.Schema, "/deploymentTemplate.json#") || d.template.ContentVersion == "" {
		return nil, fmt.Errorf("InvalidTemplate: want $schema, contentVersion, and languageVersion 2.0")
	}
	if err := d.setParameters(); err != nil {
		return nil, err
	}
	*e = e.clone()
	for len(d.done) < len(d.template.Resources) {
		if err := d.round(); err != nil {
			return nil, err
		}
	}
	outputs = map[string]string{}
	for name, output := range d.template.Outputs {
		if outputs[name], err = d.value(output.Value); err != nil {
			return nil, err
		}
	}
	return outputs, nil
}

func (d *deployment) setParameters() error {
	if d.parameters == nil {
		d.parameters = map[string]string{}
	}
	for name := range d.parameters {
		if _, ok := d.template.Parameters[name]; !ok {
			return fmt.Errorf("InvalidTemplate: the template has no parameter %s", name)
		}
	}
	for name, p := range d.template.Parameters {
		if _, given := d.parameters[name]; given {
			continue
		}
		if p.DefaultValue == nil {
			return fmt.Errorf("InvalidTemplate: the value for the template parameter '%s' is not provided", name)
		}
		value, err := d.value(*p.DefaultValue)
		if err != nil {
			return err
		}
		d.parameters[name] = value
	}
	return nil
}

// round makes, all at once as Azure does, the resources that depend on no other one that is not there yet.
func (d *deployment) round() error {
	var ready []string
	for _, symbol := range slices.Sorted(maps.Keys(d.template.Resources)) {
		waits := slices.ContainsFunc(d.template.Resources[symbol].DependsOn, func(other string) bool { return !d.done[other] })
		if !d.done[symbol] && !waits {
			ready = append(ready, symbol)
		}
	}
	if len(ready) == 0 {
		return fmt.Errorf("InvalidTemplate: the resources depend on each other, or on one that is not there")
	}
	written := map[string]bool{} // identities whose credentials were written
	for _, symbol := range ready {
		r := d.template.Resources[symbol]
		if err := d.resource(r, written); err != nil {
			return fmt.Errorf("deploying %s: %w", symbol, err)
		}
	}
	for _, symbol := range ready {
		d.done[symbol] = true
	}
	return nil
}

const credentialKind = IdentityKind + "/federatedIdentityCredentials"

func (d *deployment) resource(r templateResource, written map[string]bool) error {
	name, err := d.value(r.Name)
	if err != nil {
		return err
	}
	switch {
	case r.APIVersion == "":
		return fmt.Errorf("InvalidTemplate: no apiVersion")
	case r.Existing:
		return nil // whoever refers to it looks whether it is
	case r.Type == IdentityKind:
		return d.identity(r, name)
	case r.Type == credentialKind:
		owner, own, _ := strings.Cut(name, "/")
		if written[owner] {
			return fmt.Errorf("ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity: too many Federated Identity Credentials are written concurrently for the managed identity %s", owner)
		}
		written[owner] = true
		return d.credential(r, owner, own)
	case r.Type == "Microsoft.Authorization/roleAssignments":
		return d.assignment(r, name)
	}
	return fmt.Errorf("InvalidTemplate: the stand-in for Azure does not know the type %s", r.Type)
}

// find returns the identity with this name in the resource group.
func (d *deployment) find(name string) *Identity {
	id := d.group + "/providers/" + IdentityKind + "/" + name
	return find(d.estate.Identities, func(i *Identity) bool { return strings.EqualFold(i.ResourceID, id) })
}

func (d *deployment) identity(r templateResource, name string) error {
	location, err := d.value(r.Location)
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{2,127}$`).MatchString(name) || location == "" {
		return fmt.Errorf("InvalidTemplate: the identity %q in the location %q", name, location)
	}
	if d.find(name) == nil {
		id := d.group + "/providers/" + IdentityKind + "/" + name
		d.estate.Identities = append(d.estate.Identities, Identity{
			ResourceID: id,
			ClientID:   uuid.NewSHA1(uuid.NameSpaceURL, []byte("client:"+id)).String(), ObjectID: uuid.NewSHA1(uuid.NameSpaceURL, []byte("object:"+id)).String(),
		})
	}
	return nil
}

func (d *deployment) credential(r templateResource, owner, name string) error {
	identity := d.find(owner)
	p := r.Properties
	switch {
	case identity == nil:
		return fmt.Errorf("ParentResourceNotFound: there is no identity %s yet", owner)
	case !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{2,119}$`).MatchString(name):
		return fmt.Errorf("BadRequest: the name %q", name)
	case p.Issuer == "" || p.Subject == "" || len(p.Audiences) != 1:
		return fmt.Errorf("BadRequest: want issuer, subject and one audience")
	}
	identity.Federated = append(slices.DeleteFunc(slices.Clone(identity.Federated), func(f FederatedCredential) bool { return strings.EqualFold(f.Name, name) }),
		FederatedCredential{Name: name, Issuer: p.Issuer, Subject: p.Subject, Audiences: p.Audiences})
	if len(identity.Federated) > 20 {
		return fmt.Errorf("BadRequest: more than 20 federated credentials")
	}
	return nil
}

func (d *deployment) assignment(r templateResource, name string) error {
	if _, err := uuid.Parse(name); err != nil {
		return fmt.Errorf("InvalidRoleAssignmentId: the role assignment ID '%s' is not valid", name)
	}
	scope, err := d.value(r.Scope)
	if err != nil {
		return err
	}
	scope = d.group + "/providers/" + scope
	there := find(d.estate.Registries, func(g *Registry) bool { return strings.EqualFold(g.ID, scope) }) != nil ||
		find(d.estate.Clusters, func(c *Cluster) bool { return strings.EqualFold(c.ID, scope) }) != nil
	if !there {
		return fmt.Errorf("ResourceNotFound: the resource %s was not found", scope)
	}
	principal, err := d.value(r.Properties.PrincipalID)
	if err != nil {
		return err
	}
	if d.estate.principal(principal) == nil {
		return fmt.Errorf("PrincipalNotFound: principal %s does not exist in the directory", principal)
	}
	role := lastPart(r.Properties.RoleDefinitionID)
	if roles[role] == nil {
		return fmt.Errorf("RoleDefinitionDoesNotExist: the specified role definition with ID '%s' does not exist", role)
	}
	made := Assignment{Principal: principal, Role: role, Scope: scope}
	if !slices.Contains(d.estate.Assignments, made) {
		d.estate.Assignments = append(d.estate.Assignments, made)
	}
	return nil
}

var (
	parameterExpression = regexp.MustCompile(`^\[parameters\('(\w+)'\)\]$`)
	referenceExpression = regexp.MustCompile(`^\[reference\('(\w+)'\)\.(\w+)\]$`)
)

// value computes the value of a string of the template.
func (d *deployment) value(text string) (string, error) {
	if text == "[resourceGroup().location]" {
		return "westeurope", nil
	}
	if m := parameterExpression.FindStringSubmatch(text); m != nil {
		if value, ok := d.parameters[m[1]]; ok {
			return value, nil
		}
	}
	if m := referenceExpression.FindStringSubmatch(text); m != nil && d.done[m[1]] {
		if identity := d.find(d.template.Resources[m[1]].Name); identity != nil {
			switch m[2] {
			case "clientId":
				return identity.ClientID, nil
			case "principalId":
				return identity.ObjectID, nil
			}
		}
	}
	if strings.HasPrefix(text, "[[") {
		return text[1:], nil
	}
	if strings.HasPrefix(text, "[") {
		return "", fmt.Errorf("InvalidTemplate: unable to evaluate the expression %s", text)
	}
	return text, nil
}
