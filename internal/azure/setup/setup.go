// Package setup says what an app's deliveries need in Azure: for each environment of aksflow.yaml an identity, the ID tokens
// that it trusts, its role assignments, and its rights in the cluster. A [Plan] becomes files: Bicep, the ARM template of
// the same resources, and Kubernetes objects. Nothing is sent anywhere.
package setup

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
)

// Options say what to plan.
type Options struct {
	Config *config.Config
	// Lookup finds the variables of aksflow.yaml.
	Lookup config.Lookup
	// Environments to plan for. Empty: all that are in Azure.
	Environments []string
	// Repository is the one on GitHub whose workflows deliver: OWNER/NAME, or OWNER@ID/NAME@ID for the subjects of both forms.
	Repository string
	// Trust lists what a workflow's job may name to be an identity: of TrustEnvironment, TrustBranch and TrustTag.
	Trust []string
	// PullRequests adds an identity for the workflows of pull requests, which may only pull.
	PullRequests bool
	// ABAC means that the registries have repository permissions, so that other roles count.
	ABAC bool
	// Group is the resource group of the identities, and RegistryGroup that of the registries. Empty: that of the
	// environment's cluster. They are in the subscription of the cluster or, without one, in Subscription.
	Group         string
	RegistryGroup string
	Subscription  string
}

// What a job's subject may be made of. The subject of a pull request's job is none of these.
const (
	TrustEnvironment = "environment"
	TrustBranch      = "branch"
	TrustTag         = "tag"
)

// Plan is what has to be there.
type Plan struct {
	Identities []*Identity
	// Notices say what the plan leaves out, and why.
	Notices []string
}

// Identity is a user-assigned managed identity.
type Identity struct {
	Name         string
	Environment  string // "" for that of pull requests
	Subscription string // ID
	Group        string // resource group
	Purpose      string
	Credentials  []Credential
	Assignments  []Assignment
	Grants       []Grant
}

// Credential lets a workflow's job with this subject be the identity.
type Credential struct {
	Name    string
	Subject string
	Purpose string
}

// Assignment gives the identity a role on one resource of its subscription.
type Assignment struct {
	Role     Role
	Kind     string // of the resource, such as Microsoft.ContainerRegistry/registries
	Resource string // its name
	Group    string // its resource group
	Purpose  string
}

// Grant binds the identity to a Role or ClusterRole in a namespace.
type Grant struct {
	Namespace string
	Kind      string
	Role      string
	Purpose   string
}

// Role is a built-in role of Azure. https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
type Role struct {
	ID   string // of its definition
	Name string
}

var (
	acrPush          = Role{"8311e382-0749-4cb8-b61a-304f252e45ec", "AcrPush"}
	acrPull          = Role{"7f951dda-4ed3-4680-a7ca-43fe172d538d", "AcrPull"}
	repositoryWriter = Role{"2a1e307c-b015-4ebd-883e-5b7698a07328", "Container Registry Repository Writer"}
	repositoryReader = Role{"b93aa761-3e63-49ed-ac28-beffa264f7ac", "Container Registry Repository Reader"}
	clusterUser      = Role{"4abbcc35-e782-43d8-92f1-2d3f1bd2253f", "Azure Kubernetes Service Cluster User Role"}
)

// RoleName is the name of a role of a plan by the ID of its definition; the ID for any other role.
func RoleName(id string) string {
	for _, role := range []Role{acrPush, acrPull, repositoryWriter, repositoryReader, clusterUser} {
		if strings.EqualFold(role.ID, id) {
			return role.Name
		}
	}
	return id
}

// ResourceID is the resource that an assignment of the identity is on.
func (id *Identity) ResourceID(a Assignment) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s", id.Subscription, a.Group, a.Kind, a.Resource)
}

const (
	registryKind = "Microsoft.ContainerRegistry/registries"
	clusterKind  = "Microsoft.ContainerService/managedClusters"
)

// credentialLimit is how many federated credentials an identity may have.
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
const credentialLimit = 20

// Make plans. Its errors are usage errors.
func Make(o Options) (*Plan, error) {
	subjects, err := newSubjects(o.Repository, o.Trust)
	if err != nil {
		return nil, fault.Usage(err)
	}
	p := &Plan{}
	if !subjects.ids() {
		p.notice("GitHub gives repositories that were made, renamed or transferred since July 2026 subjects with IDs, which are not in this plan: --repository OWNER@ID/NAME@ID adds them, and `gh api repos/%s --jq '\"\\(.owner.login)@\\(.owner.id)/\\(.name)@\\(.id)\"'` prints it", o.Repository)
	}
	names := o.Environments
	if len(names) == 0 {
		names = o.Config.Names()
	}
	for _, name := range names {
		if o.Config.Environments[name] == nil {
			return nil, fault.Usagef("%s has no environment %s: it has %s", o.Config.Path(), name, strings.Join(o.Config.Names(), ", "))
		}
		if o.Config.Environments[name].Platform == config.LocalPlatform {
			if len(o.Environments) > 0 {
				p.notice("%s is on the local platform: it needs nothing in Azure", name)
			}
			continue
		}
		c, err := o.Config.Expand(name, o.Lookup)
		if err != nil {
			return nil, err
		}
		if err := p.add(o, c.App, c.Environments[name], subjects); err != nil {
			return nil, err
		}
	}
	if len(p.Identities) == 0 {
		return nil, fault.Usagef("no environment of %s is in Azure: name a registry (NAME.azurecr.io) or a cluster (cluster.aks)", o.Config.Path())
	}
	if o.PullRequests {
		p.addPullRequests(o, subjects)
	}
	return p, fault.Usage(p.check())
}

func (p *Plan) notice(format string, args ...any) {
	p.Notices = append(p.Notices, fmt.Sprintf(format, args...))
}

// add plans for an environment whose variables are expanded.
func (p *Plan) add(o Options, app string, e *config.Environment, subjects subjects) error {
	id := &Identity{
		Name: name(app, e.Name), Environment: e.Name, Subscription: o.Subscription, Group: o.Group,
		Purpose: fmt.Sprintf("Delivers %s to the environment %s, by %s.", app, e.Name, e.Target),
	}
	if aks := e.Cluster.AKS; aks != nil {
		id.Subscription, id.Group = aks.Subscription, cmp.Or(o.Group, aks.ResourceGroup)
	}
	registry := registryName(e.Registry)
	if registry == "" && e.Cluster.AKS == nil {
		p.notice("%s has neither a registry nor a cluster of Azure: nothing is planned for it", e.Name)
		return nil
	}
	if id.Group == "" || id.Subscription == "" {
		return fault.Usagef("the environment %s names no cluster by cluster.aks: say with --resource-group and --subscription where its identity and its registry are", e.Name)
	}
	if registry != "" {
		role := acrPush
		if o.ABAC {
			role = repositoryWriter
		}
		id.Assignments = append(id.Assignments, Assignment{
			Role: role, Kind: registryKind, Resource: registry, Group: cmp.Or(o.RegistryGroup, id.Group),
			Purpose: "Pushes the image, and pulls it and private base images.",
		})
	} else {
		p.notice("the registry of %s is not Azure's: no role is planned for it", e.Name)
	}
	p.addCluster(id, e)
	p.addCredentials(id, e, subjects)
	p.Identities = append(p.Identities, id)
	return nil
}

// addCluster plans the rights in the environment's cluster.
func (p *Plan) addCluster(id *Identity, e *config.Environment) {
	aks := e.Cluster.AKS
	if aks == nil {
		p.notice("%s names its cluster by a kubeconfig, or not at all: no right in it is planned. With cluster.aks the identity would be the login to it", e.Name)
		return
	}
	purpose := "Gets the cluster's address. What it may do there is for Kubernetes to say: see the RoleBinding."
	if e.OperatorApplies() {
		purpose = "Gets the cluster's address, to watch there until the operator has applied the commit. It may change nothing of the app."
	}
	id.Assignments = append(id.Assignments, Assignment{Role: clusterUser, Kind: clusterKind, Resource: aks.Name, Group: aks.ResourceGroup, Purpose: purpose})
	if e.OperatorApplies() {
		operator := map[string]string{config.ArgoCD: "argocd", config.Flux: "flux-system"}[e.GitOps.Operator]
		id.Grants = []Grant{
			{cmp.Or(e.GitOps.Namespace, operator), "ClusterRole", "aksflow-wait-operator", "Asks the operator to look at git now, and reads what it says."},
			{cmp.Or(e.Namespace, "default"), "ClusterRole", "aksflow-wait-app", "Reads how the rollout fares."},
		}
		return
	}
	for _, namespace := range append([]string{cmp.Or(e.Namespace, "default")}, e.Namespaces...) {
		id.Grants = append(id.Grants, Grant{namespace, "Role", "deployer", "Applies the manifests, and watches and records the rollout."})
	}
}

func (p *Plan) addCredentials(id *Identity, e *config.Environment, subjects subjects) {
	if subjects.trusts(TrustEnvironment) {
		id.add("environment", e.Name, subjects.of("environment:"+e.Name),
			fmt.Sprintf("Jobs with `environment: %s`. Limit that environment to its branches in GitHub (Settings, Environments): any job, also a pull request's, may name it otherwise.", e.Name))
	}
	for _, kind := range []struct {
		trust, ref string
		patterns   []string
	}{{TrustBranch, "refs/heads/", e.Branches}, {TrustTag, "refs/tags/", e.Tags}} {
		if !subjects.trusts(kind.trust) {
			continue
		}
		for _, pattern := range kind.patterns {
			if strings.ContainsAny(pattern, `*?[{\`) {
				p.notice("%s: Entra compares subjects letter by letter, so that no credential can be for the %s %s; its jobs must name the environment", e.Name, kind.trust, pattern)
				continue
			}
			id.add(kind.trust, pattern, subjects.of("ref:"+kind.ref+pattern),
				fmt.Sprintf("Jobs for the %s %s that name no environment: nobody is asked to approve them.", kind.trust, pattern))
		}
	}
}

// addPullRequests plans the identity of pull requests: it may pull from the registries of the environments, and no more,
// because whoever may open a pull request writes its workflow.
func (p *Plan) addPullRequests(o Options, subjects subjects) {
	first := p.Identities[0]
	id := &Identity{
		Name: name(o.Config.App, "pull-request"), Subscription: first.Subscription, Group: first.Group,
		Purpose: "Builds and tests pull requests of " + o.Config.App + ". It may only pull: whoever opens a pull request decides what its jobs run.",
	}
	role := acrPull
	if o.ABAC {
		role = repositoryReader
	}
	seen := map[string]bool{}
	for _, other := range p.Identities {
		for _, a := range other.Assignments {
			if a.Kind != registryKind || seen[a.Group+"/"+a.Resource] {
				continue
			}
			if other.Subscription != id.Subscription {
				p.notice("the registry %s is in another subscription than the identity %s: no role on it is planned", a.Resource, id.Name)
				continue
			}
			seen[a.Group+"/"+a.Resource] = true
			a.Role, a.Purpose = role, "Pulls private base images."
			id.Assignments = append(id.Assignments, a)
		}
	}
	if len(id.Assignments) == 0 {
		return
	}
	id.add("pull", "request", subjects.of(pullRequest), "Jobs of pull requests from this repository's own branches; GitHub gives those of forks no ID token.")
	p.Identities = append(p.Identities, id)
}

// add adds a credential for each subject.
func (id *Identity) add(kind, what string, subjects []string, purpose string) {
	for i, subject := range subjects {
		credential := Credential{Name: name(kind, what), Subject: subject, Purpose: purpose}
		if i > 0 {
			credential.Name += "-ids"
			credential.Purpose += " This is the subject with IDs; the repository presents one of the two."
		}
		id.Credentials = append(id.Credentials, credential)
	}
}

// check refuses a plan that would give too much, or that Azure would refuse.
func (p *Plan) check() error {
	names := map[string]bool{}
	var errs []error
	for _, id := range p.Identities {
		key := strings.ToLower(id.Subscription + "/" + id.Group + "/" + id.Name)
		if names[key] {
			errs = append(errs, fmt.Errorf("two identities would be called %s: rename an environment", id.Name))
		}
		names[key] = true
		if n := len(id.Credentials); n > credentialLimit {
			errs = append(errs, fmt.Errorf("the identity %s would have %d federated credentials, and %d is Entra's limit: leave branches or tags out of --trust", id.Name, n, credentialLimit))
		}
		credentials := map[string]bool{}
		for _, c := range id.Credentials {
			if credentials[strings.ToLower(c.Name)] {
				errs = append(errs, fmt.Errorf("two federated credentials of %s would be called %s: leave one of their branches or tags out of --trust", id.Name, c.Name))
			}
			credentials[strings.ToLower(c.Name)] = true
		}
		errs = append(errs, id.checkPullRequests())
	}
	return errors.Join(errs...)
}

// checkPullRequests refuses that a pull request's job may do more than pull.
func (id *Identity) checkPullRequests() error {
	if !slices.ContainsFunc(id.Credentials, func(c Credential) bool { return strings.HasSuffix(c.Subject, ":"+pullRequest) }) {
		return nil
	}
	for _, a := range id.Assignments {
		if a.Role != acrPull && a.Role != repositoryReader {
			return fmt.Errorf("pull requests would get the role %s on %s by the identity %s: they may only pull", a.Role.Name, a.Resource, id.Name)
		}
	}
	if len(id.Grants) > 0 {
		return fmt.Errorf("pull requests would get rights in a cluster by the identity %s: they may only pull", id.Name)
	}
	return nil
}

var notInName = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// name joins parts to the name of a resource: letters, digits and dashes, 110 at most, so that an ending fits.
func name(parts ...string) string {
	joined := strings.Trim(notInName.ReplaceAllString(strings.Join(parts, "-"), "-"), "-")
	return joined[:min(len(joined), 110)]
}

// registryName returns the resource's name of a registry of Azure, "" for another one. A login server with a domain name
// label has a hash behind the name, which itself has no dashes.
func registryName(registry string) string {
	host, _, _ := strings.Cut(registry, "/")
	for _, domain := range []string{".azurecr.io", ".azurecr.cn", ".azurecr.us"} {
		if login, ok := strings.CutSuffix(strings.ToLower(host), domain); ok {
			resource, _, _ := strings.Cut(login, "-")
			return resource
		}
	}
	return ""
}
