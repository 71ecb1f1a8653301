package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/git"
)

// getenv is os.Getenv; tests give another.
type getenv func(name string) string

// runURL returns the page of the CI run that this process is a part of; "" where it is not known.
func runURL(env getenv) string {
	if server, repo, id := env("GITHUB_SERVER_URL"), env("GITHUB_REPOSITORY"), env("GITHUB_RUN_ID"); server != "" && repo != "" && id != "" {
		return server + "/" + repo + "/actions/runs/" + id
	}
	for _, name := range []string{"BUILD_URL" /* Jenkins */, "CI_JOB_URL" /* GitLab */, "CIRCLE_BUILD_URL"} {
		if url := env(name); url != "" {
			return url
		}
	}
	if server, project, id := env("SYSTEM_COLLECTIONURI"), env("SYSTEM_TEAMPROJECT"), env("BUILD_BUILDID"); server != "" && id != "" {
		return server + url.PathEscape(project) + "/_build/results?buildId=" + id // Azure Pipelines
	}
	if repo, number := env("BITBUCKET_GIT_HTTP_ORIGIN"), env("BITBUCKET_BUILD_NUMBER"); repo != "" && number != "" {
		return repo + "/pipelines/results/" + number
	}
	return ""
}

// gitRef returns the git ref that a CI run is for, since CI systems check out a commit and not a branch; "" where no CI
// system says one.
//
//   - https://docs.github.com/en/actions/reference/workflows-and-actions/variables
//   - https://docs.gitlab.com/ci/variables/predefined_variables/
//   - https://learn.microsoft.com/en-us/azure/devops/pipelines/build/variables
//   - https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables (multibranch pipelines)
//   - https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/
//   - https://circleci.com/docs/reference/variables/
func gitRef(env getenv) string {
	// GITHUB_REF is the base branch here, while what is checked out may be anybody's.
	if env("GITHUB_EVENT_NAME") == "pull_request_target" {
		return "refs/pull/" + strings.ReplaceAll(cmp.Or(env("GITHUB_HEAD_REF"), "target"), "/", "-") + "/head"
	}
	first := func(prefix, suffix string, names ...string) string {
		for _, name := range names {
			if value := env(name); value != "" {
				return prefix + value + suffix
			}
		}
		return ""
	}
	for _, ref := range []string{
		first("", "", "GITHUB_REF"),
		otherRequest(env),
		// A merge request's pipeline has the source branch in CI_COMMIT_REF_NAME: it must not count as that branch.
		first("refs/merge-requests/", "/head", "CI_MERGE_REQUEST_IID"),
		first("refs/pull/", "/head", "CI_EXTERNAL_PULL_REQUEST_IID"),
		first("refs/tags/", "", "CI_COMMIT_TAG"),
		first("refs/heads/", "", "CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME"),
		first("", "", "BUILD_SOURCEBRANCH"),
		first("refs/pull/", "/head", "CHANGE_ID"),
		first("refs/tags/", "", "TAG_NAME"),
		first("refs/heads/", "", "BRANCH_NAME"),
		// As on GitLab, a pull request's pipeline has the source branch in BITBUCKET_BRANCH.
		first("refs/pull/", "/head", "BITBUCKET_PR_ID"),
		first("refs/tags/", "", "BITBUCKET_TAG"),
		first("refs/heads/", "", "BITBUCKET_BRANCH"),
		first("refs/pull/", "/head", "CIRCLE_PR_NUMBER"), // of a fork; a branch with a pull request is a branch
		first("refs/tags/", "", "CIRCLE_TAG"),
		circleBranch(env("CIRCLE_BRANCH")),
		jenkinsBranch(env("GIT_BRANCH"), env("GIT_LOCAL_BRANCH")),
	} {
		if ref != "" {
			return ref
		}
	}
	return ""
}

// circleBranch returns the ref of CircleCI's branch, which is called pull/7 for a pull request of a fork.
func circleBranch(branch string) string {
	if strings.HasPrefix(branch, "pull/") {
		return "refs/" + branch + "/head"
	}
	return onBranch(branch)
}

// otherRequest returns the ref of a pull request that a variable names beside those of its CI system: Jenkins has some from plugins
// (ghprb, GitLab), and Woodpecker has the target branch in the variables that GitLab has. Of CI systems that are not read
// otherwise, this is read, too: their jobs may have the target branch checked out.
func otherRequest(env getenv) string {
	for _, name := range []string{
		"ghprbPullId", "gitlabMergeRequestIid", "CI_COMMIT_PULL_REQUEST", // Woodpecker
		"DRONE_PULL_REQUEST", "BUILDKITE_PULL_REQUEST", "TRAVIS_PULL_REQUEST", "APPVEYOR_PULL_REQUEST_NUMBER", "SEMAPHORE_GIT_PR_NUMBER",
	} {
		if number := env(name); number != "" && number != "false" {
			return "refs/pull/" + number + "/head"
		}
	}
	return ""
}

// jenkinsBranch returns the ref of what Jenkins' git plugin calls a branch: the name on the remote, origin/main, or what the
// job's own setting says, refs/tags/v1. A job that fetches tags as branches has origin/tags/v1. local is the name of the branch in
// the clone, "" for none. With it the name of a remote that is not called origin can be cut off.
func jenkinsBranch(branch, local string) string {
	branch = strings.TrimPrefix(branch, "refs/remotes/")
	name, onOrigin := strings.CutPrefix(branch, "origin/")
	if remote, ok := strings.CutSuffix(branch, "/"+local); ok && !onOrigin && local != "" && !strings.Contains(remote, "/") {
		name = local
	}
	if strings.HasPrefix(name, "tags/") {
		return "refs/" + name
	}
	return onBranch(name)
}

func onBranch(name string) string {
	if name == "" || name == "HEAD" || name == "detached" || strings.HasPrefix(name, "refs/") {
		return strings.TrimPrefix(name, "detached")
	}
	return "refs/heads/" + name
}

// ofCheckout returns the git ref of what is checked out in dir, where that is not the branch that a CI run is for: a run by a
// schedule, by hand or by a comment is for the default branch, whatever its job then checks out. The warning is "" where gitRef stays.
//
// A commit that a job made itself does not count: it is on the same branch, or on no branch. GitHub's checkout leaves no branch only
// where it was told to take a commit or a tag.
func ofCheckout(env getenv, gitRef, dir string) (is, warning string) {
	if !strings.HasPrefix(gitRef, "refs/heads/") {
		return gitRef, ""
	}
	run := cmp.Or(env("GITHUB_SHA"), env("CI_COMMIT_SHA"), env("BUILD_SOURCEVERSION"), env("BITBUCKET_COMMIT"), env("CIRCLE_SHA1"), env("GIT_COMMIT"))
	head, commit, err := git.Head(dir)
	if err != nil || run == "" || commit == "" || commit == run || head == gitRef || head == "HEAD" && env("GITHUB_REF") == "" {
		return gitRef, ""
	}
	const short = 12
	return head, fmt.Sprintf("the CI run is for %s at %s, and its job has checked out %s at %s: that is what counts here; name another git ref with --ref",
		gitRef, run[:min(short, len(run))], head, commit[:short])
}

// withOutputs is a result of which later steps of a workflow can use something. The names are those that action.yml
// declares.
type withOutputs interface{ outputs() []report.Output }

// writeCI writes the result into the files that GitHub Actions gives a step, and for Azure Pipelines what it shows on the page
// of the run. What cannot be written is no reason to fail a delivery that succeeded.
func (g *globals) writeCI(ctx context.Context, res result) {
	write := func(variable, text string) {
		path := os.Getenv(variable)
		if path == "" || text == "" {
			return
		}
		if err := report.AppendFile(path, text); err != nil {
			report.Warn(ctx, "writing to %s: %v", variable, err)
		}
	}
	if r, ok := res.(withOutputs); ok && !isNil(res) {
		write("GITHUB_OUTPUT", report.FormatOutputs(r.outputs()))
	}
	if g.page == nil {
		return
	}
	summary := g.page.Markdown()
	write("GITHUB_STEP_SUMMARY", summary)
	if dir := os.Getenv("AGENT_TEMPDIRECTORY"); dir != "" && os.Getenv("TF_BUILD") != "" {
		if err := report.AzureSummary(g.stderr, dir, summary); err != nil {
			report.Warn(ctx, "the summary for Azure Pipelines: %v", err)
		}
	}
}
