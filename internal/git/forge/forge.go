// Package forge opens pull requests on git hosts. GitHub and GitHub Enterprise are supported; another host is one more
// implementation of [Forge], and a line in [For].
package forge

import (
	"context"
	"slices"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/git"
)

// Forge is a git host with pull requests.
type Forge interface {
	// Propose opens a pull request, or updates the one that is open for the same two branches. It returns the URL of the
	// request.
	Propose(context.Context, Request) (url string, err error)
}

// Request is a pull request.
type Request struct {
	Head, Base  string // names of branches
	Title, Body string // Body is Markdown
	Labels      []string
	AutoMerge   Merge
}

// Merge is how a request is merged once the rules of the branch are met. NoMerge leaves it to people.
type Merge string

// The ways to merge.
const (
	NoMerge     Merge = ""
	MergeCommit Merge = "merge"
	Squash      Merge = "squash"
	Rebase      Merge = "rebase"
)

// Check returns an error for a value that is none of the constants.
func (m Merge) Check() error {
	if slices.Contains([]Merge{NoMerge, MergeCommit, Squash, Rebase}, m) {
		return nil
	}
	return fault.Usagef("auto-merge %q is not known: want merge, squash or rebase", m)
}

// For returns the forge that a remote is on.
func For(ctx context.Context, remote git.Remote) (Forge, error) {
	if host := unsupported(remote); host != "" {
		return nil, fault.Usagef("%s is on %s, where aksflow cannot open pull requests yet: let this account push to the branch, without gitops.pullRequest in aksflow.yaml or `aksflow bump --pull-request`",
			remote.URL, host)
	}
	return newGitHub(ctx, remote)
}

// unsupported returns the name of the host of a remote if it is known and not supported; "" for others.
func unsupported(remote git.Remote) string {
	for host, same := range map[string]string{
		"Azure Repos": "https://dev.azure.com/", "GitLab": "https://gitlab.com/", "Bitbucket": "https://bitbucket.org/",
	} {
		if git.SameHost(remote.URL, same) {
			return host
		}
	}
	return ""
}
