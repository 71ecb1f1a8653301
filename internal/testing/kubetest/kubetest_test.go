package kubetest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/aksflow/aksflow/internal/tool"
)

func TestStart(t *testing.T) {
	kubeconfig := Start(t)
	kubectl, err := tool.Find("kubectl", "")
	if err != nil {
		t.Fatal(err)
	}
	// A service account appears in a namespace when the controllers work, too.
	cmd := exec.CommandContext(t.Context(), kubectl, "--kubeconfig="+kubeconfig, "wait",
		"--for=create", "--timeout=60s", "serviceaccount/default", "--namespace=default")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
