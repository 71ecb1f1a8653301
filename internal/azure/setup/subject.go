package setup

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// GitHubIssuer issues the ID tokens of workflows' jobs, and exchangeAudience is who they are for: Entra.
const (
	GitHubIssuer     = "https://token.actions.githubusercontent.com"
	exchangeAudience = "api://AzureADTokenExchange"
)

// pullRequest is the end of the subject of each job of a pull request that names no environment.
const pullRequest = "pull_request"

// subjects makes the subjects of a repository's ID tokens.
// https://docs.github.com/actions/reference/security/oidc
type subjects struct {
	repositories []string // OWNER/NAME and, where the IDs are known, OWNER@ID/NAME@ID
	trust        []string
}

var (
	plainRepository = regexp.MustCompile(`^[\w.-]+/[\w.-]+$`)
	idRepository    = regexp.MustCompile(`^([\w.-]+)@\d+/([\w.-]+)@\d+$`)
)

func newSubjects(repository string, trust []string) (subjects, error) {
	s := subjects{trust: trust}
	switch m := idRepository.FindStringSubmatch(repository); {
	case m != nil:
		s.repositories = []string{m[1] + "/" + m[2], repository}
	case plainRepository.MatchString(repository):
		s.repositories = []string{repository}
	default:
		return s, fmt.Errorf("--repository %q: want OWNER/NAME or OWNER@ID/NAME@ID, the repository on GitHub whose workflows deliver", repository)
	}
	if len(trust) == 0 {
		return s, fmt.Errorf("--trust is empty: want %s, %s or %s, or several", TrustEnvironment, TrustBranch, TrustTag)
	}
	for _, kind := range trust {
		switch kind {
		case TrustEnvironment, TrustBranch, TrustTag:
		case pullRequest, "pull-request":
			return s, fmt.Errorf("--trust %s: a pull request's jobs run what its author wrote, so they must not deliver. They have an identity of their own, which may only pull: --pull-requests", kind)
		default:
			return s, fmt.Errorf("--trust %q: want %s, %s or %s, or several", kind, TrustEnvironment, TrustBranch, TrustTag)
		}
	}
	return s, nil
}

// ids reports whether there are subjects of both forms.
func (s subjects) ids() bool { return len(s.repositories) > 1 }

func (s subjects) trusts(kind string) bool { return slices.Contains(s.trust, kind) }

// of returns the subjects that end in context: the plain one first.
func (s subjects) of(context string) []string {
	var all []string
	for _, repository := range s.repositories {
		all = append(all, strings.Join([]string{"repo", repository, context}, ":"))
	}
	return all
}
