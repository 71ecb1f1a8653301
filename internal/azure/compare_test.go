package azure_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/azure/setup"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// reader returns a client with the role Reader on the subscription, in the estate that deploySetup makes.
func reader(t *testing.T) *azure.Client {
	t.Helper()
	without(t, func(e *standin.Estate) {
		e.Identities = append(slices.Clone(e.Identities), standin.Sample().Identities...)
		e.Assignments = append(slices.Clone(e.Assignments), standin.Assignment{Principal: standin.SampleObject, Role: standin.Reader, Scope: "/subscriptions/" + standin.SampleSubscription})
	})
	return client(gitHub(standin.SampleSubject))
}

func compared(t *testing.T, c *azure.Client, p *setup.Plan) (lines []string) {
	t.Helper()
	found, err := c.Compare(t.Context(), p)
	require.NoError(t, err)
	for _, d := range found {
		lines = append(lines, d.Identity+": "+d.Status+" "+d.What+": "+d.Detail)
	}
	return lines
}

func TestCompare(t *testing.T) {
	p := sampleSetup(t, false)
	t.Run("nothing is there", func(t *testing.T) {
		lines := compared(t, reader(t), p)
		require.Len(t, lines, len(p.Identities))
		assert.Contains(t, lines[0], "vote-dev: missing the identity: Delivers vote to the environment dev")
	})
	outputs, _ := deploySetup(t, p, false)
	c := reader(t)
	require.Empty(t, compared(t, c, p), "what the templates make is what was planned")

	dev, pullRequest := outputs["vote-dev"]["objectId"], outputs["vote-pull-request"]["objectId"]
	of := func(e *standin.Estate, object string) *standin.Identity {
		e.Identities = slices.Clone(e.Identities)
		return &e.Identities[slices.IndexFunc(e.Identities, func(i standin.Identity) bool { return i.ObjectID == object })]
	}
	for name, test := range map[string]struct {
		change func(*standin.Estate)
		want   []string // parts of the only line
	}{
		"a role taken away": {func(e *standin.Estate) {
			e.Assignments = slices.DeleteFunc(slices.Clone(e.Assignments), func(a standin.Assignment) bool { return a.Principal == dev && a.Role == standin.AcrPush })
		}, []string{"vote-dev: missing role AcrPush on " + standin.SampleRegistry}},
		"a wider role": {func(e *standin.Estate) {
			e.Assignments = slices.Clone(e.Assignments)
			for i, a := range e.Assignments {
				if a.Principal == dev && a.Role == standin.AcrPush {
					e.Assignments[i].Scope = "/subscriptions/" + standin.SampleSubscription
				}
			}
		}, []string{"vote-dev: different role AcrPush on " + standin.SampleRegistry, "it is given on all of /subscriptions/"}},
		"another role": {func(e *standin.Estate) {
			e.Assignments = append(slices.Clone(e.Assignments), standin.Assignment{Principal: dev, Role: standin.CryptoUser, Scope: standin.ResourceID(standin.VaultKind, standin.SampleVault)})
		}, []string{"vote-dev: extra role " + standin.CryptoUser + " on "}},
		"a role by a group": {func(e *standin.Estate) {
			of(e, dev).Groups = []string{"55555555-5555-5555-5555-555555555555"}
			e.Assignments = append(slices.Clone(e.Assignments), standin.Assignment{Principal: "55555555-5555-5555-5555-555555555555", Role: standin.Reader, Scope: "/subscriptions/" + standin.SampleSubscription})
		}, []string{"vote-dev: extra role " + standin.Reader}},
		"pull requests that may push": {func(e *standin.Estate) {
			e.Assignments = append(slices.Clone(e.Assignments), standin.Assignment{Principal: pullRequest, Role: standin.AcrPush, Scope: standin.ResourceID(standin.RegistryKind, standin.SampleRegistry)})
		}, []string{"vote-pull-request: extra role AcrPush on ", "whoever opens a pull request decides what its jobs run: take it away"}},
		"a credential taken away": {func(e *standin.Estate) {
			i := of(e, dev)
			i.Federated = slices.DeleteFunc(slices.Clone(i.Federated), func(f standin.FederatedCredential) bool { return f.Name == "environment-dev" })
		}, []string{"vote-dev: missing federated credential environment-dev"}},
		"another subject": {func(e *standin.Estate) {
			i := of(e, dev)
			i.Federated = slices.Clone(i.Federated)
			i.Federated[0].Subject = strings.ToUpper(i.Federated[0].Subject)
		}, []string{"vote-dev: different federated credential ", `and the plan's is "repo:aksflow/aksflow:environment:dev"`}},
		"another credential": {func(e *standin.Estate) {
			i := of(e, dev)
			i.Federated = append(slices.Clone(i.Federated), standin.FederatedCredential{Name: "all", Issuer: standin.GitHubIssuer, Subject: "repo:aksflow/aksflow:pull_request"})
		}, []string{"vote-dev: extra federated credential all", `it lets "repo:aksflow/aksflow:pull_request" of https://token.actions.githubusercontent.com be the identity`}},
	} {
		t.Run(name, func(t *testing.T) {
			without(t, test.change)
			lines := compared(t, c, p)
			require.Len(t, lines, 1)
			for _, part := range test.want {
				assert.Contains(t, lines[0], part)
			}
		})
	}
	t.Run("no right to read", func(t *testing.T) {
		without(t, remove(standin.Reader))
		_, err := c.Compare(t.Context(), p)
		expect(t, err, []string{"it needs the role Reader on the subscription", "az role assignment create --assignee-object-id " + standin.SampleObject})
	})
}
