package kube

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	// credentialLimit is how long a credential plugin may take: a person may have to sign in somewhere.
	credentialLimit = 5 * time.Minute
	// credentialNotice is after how long a slow plugin is reported.
	credentialNotice = 5 * time.Second
	// credentialTrial is how long a plugin may run whose output is looked at.
	credentialTrial = 10 * time.Second
)

// awaitCredential returns when the credential plugin of the kubeconfig, if there is one, has let the first request pass,
// when that request has ended, or when ctx ends. Until then it is the plugin that is slow, and not the API server.
func (c *Cluster) awaitCredential(ctx context.Context, ended <-chan struct{}) error {
	plugin := c.config.ExecProvider
	if plugin == nil {
		return nil
	}
	notice := time.NewTimer(credentialNotice)
	defer notice.Stop()
	limit := time.NewTimer(credentialLimit)
	defer limit.Stop()
	for {
		select {
		case <-c.clock.reached:
			return nil
		case <-ended:
			return nil
		case <-notice.C:
			report.Info(ctx, "waiting for the kubeconfig's credential plugin %s: it may want somebody to sign in", plugin.Command)
		case <-limit.C:
			return fmt.Errorf("the kubeconfig's credential plugin %s gave no credential within %s: run it by itself to see why", plugin.Command, report.Span(credentialLimit))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// failurePattern reads client-go's errors about credential plugins:
//
//	exec: executable kubelogin not found
//	exec: executable kubelogin failed with exit code 1
var failurePattern = regexp.MustCompile(`exec: executable (\S+) (not found|failed with exit code \d+)`)

// explainCredential adds a remedy to an error of a credential plugin. client-go's own message is a page long. Any other
// error is returned as it is.
func explainCredential(ctx context.Context, err error, plugin *clientcmdapi.ExecConfig) error {
	const aks = "AKS uses kubelogin, which `az aks install-cli` installs"
	if plugin == nil {
		return err
	}
	name := "the kubeconfig's credential plugin " + plugin.Command
	text := err.Error()
	failure := failurePattern.FindStringSubmatch(text)
	var missing *exec.Error
	switch {
	case failure != nil && failure[2] == "not found", errors.As(err, &missing), strings.Contains(text, "executable file not found"):
		return fmt.Errorf("%s is not installed: put it on PATH (%s), or take a kubeconfig that needs none, which `aksflow kubeconfig --output-file FILE` makes on a machine that has it", name, aks)
	case failure != nil:
		return fmt.Errorf("%s %s: run it by itself to see why", name, failure[2])
	case strings.Contains(text, "cannot support interactive mode"):
		return fmt.Errorf("%s needs a terminal, and there is none: sign in first, or use a way of login that needs none, for AKS with `kubelogin convert-kubeconfig -l azurecli` or `-l workloadidentity`, or with `aksflow kubeconfig --output-file FILE` in a terminal", name)
	case strings.Contains(text, "decoding stdout"):
		return fmt.Errorf("%s printed something that is no credential%s: run it by itself to see all of it", name, firstLine(ctx, plugin))
	case strings.Contains(text, "getting credentials: exec"):
		return fmt.Errorf("%s does not work: %w", name, rootCause(err))
	}
	return err
}

// maxLine bounds what is shown of a plugin's output, in bytes.
const maxLine = 120

// firstLine runs a plugin once more and returns the first line of its output, ": LINE", to show what it printed beside the
// credential. A line that may hold the credential itself is left out.
func firstLine(ctx context.Context, plugin *clientcmdapi.ExecConfig) string {
	ctx, cancel := context.WithTimeout(ctx, credentialTrial)
	defer cancel()
	cmd := exec.CommandContext(ctx, plugin.Command, plugin.Args...)
	cmd.Env = cmd.Environ()
	for _, variable := range plugin.Env {
		cmd.Env = append(cmd.Env, variable.Name+"="+variable.Value)
	}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	scanner := bufio.NewScanner(bytes.NewReader(out))
	for scanner.Scan() {
		line := strings.TrimSpace(scanner.Text())
		switch {
		case line == "":
			continue
		case strings.ContainsAny(line, "{}") || strings.Contains(line, "token"):
			return ""
		case len(line) > maxLine:
			line = line[:maxLine] + "…"
		}
		return ": " + line
	}
	return ""
}
