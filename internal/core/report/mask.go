package report

import (
	"fmt"
	"io"
	"strings"
)

// shortestMasked is the length in bytes of the shortest value that is hidden. Hiding a shorter one makes output unreadable
// and tells each place where the value stands; GitLab asks for eight characters.
// https://docs.gitlab.com/ci/variables/#mask-a-cicd-variable
const shortestMasked = 4

// Maskable reports whether a secret is long enough to be hidden in output.
func Maskable(value string) bool { return len(strings.TrimSpace(value)) >= shortestMasked }

// MaskGitHub makes GitHub Actions hide values in the log from here on. It reads these commands from a step's output and
// error stream alike.
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#masking-a-value-in-a-log
func MaskGitHub(w io.Writer, values []string) {
	for _, value := range values {
		fmt.Fprintf(w, "::add-mask::%s\n", commandData(value))
	}
}

// MaskAzure is MaskGitHub for Azure Pipelines.
// https://learn.microsoft.com/en-us/azure/devops/pipelines/scripts/logging-commands#setsecret-register-a-value-as-a-secret
func MaskAzure(w io.Writer, values []string) {
	escaped := strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A")
	for _, value := range values {
		fmt.Fprintf(w, "##vso[task.setsecret]%s\n", escaped.Replace(value))
	}
}
