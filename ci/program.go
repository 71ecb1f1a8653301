package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
)

// Where things are in the container that the aksflow program runs in.
const (
	programPath    = "/usr/local/bin/aksflow"
	repositoryPath = "/work"
	resultPath     = "/tmp/aksflow-result.json"
	imagePath      = "/tmp/image.tar"
	kubeconfigPath = "/run/secrets/kubeconfig"
	agentPath      = "/run/ssh-agent.sock"
	knownHostsPath = "/run/known_hosts"
)

// unnamed is who delivers where nobody said it: a container knows no user.
const unnamed = "unknown (dagger call)"

// program returns a container with the aksflow program. The program is static and brings its certificates, so an image
// below it is needed only where a network has certificates of its own.
func (m *AksFlow) program() *dagger.Container {
	c := dag.Container().WithEnvVariable("PATH", path.Dir(programPath))
	if m.ProgramImage != "" {
		c = dag.Container().From(m.ProgramImage)
	}
	switch {
	case m.Program != nil:
		c = c.WithFile(programPath, m.Program, dagger.ContainerWithFileOpts{Permissions: 0o755})
	case m.ProgramImage == "":
		c = c.WithFile(programPath, m.built(), dagger.ContainerWithFileOpts{Permissions: 0o755})
	}
	return c.WithDirectory("/tmp", dag.Directory())
}

// built compiles the program from this module's own repository.
func (m *AksFlow) built() *dagger.File {
	return dag.Container().From(m.GoImage).
		WithMountedCache("/go/pkg/mod", dag.CacheVolume("aksflow-go-mod")).
		WithMountedCache("/root/.cache/go-build", dag.CacheVolume("aksflow-go-build")).
		WithMountedDirectory("/src", m.ProgramSource).
		WithWorkdir("/src").
		WithEnvVariable("CGO_ENABLED", "0").
		WithExec([]string{"go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "/aksflow", "."}).
		File("/aksflow")
}

// command is a run of the aksflow program: a container, and the flags that go before those of the verb.
type command struct {
	container *dagger.Container
	flags     []string
}

// prepare returns a command with the repository and all that was given to the module, for an environment; "" stands for one
// that is not known yet. It reaches the registries of aksflow.yaml and those that are named.
func (m *AksFlow) prepare(ctx context.Context, env string, registries ...string) (*command, error) {
	cfg, err := m.parsed(ctx)
	if err != nil {
		return nil, err
	}
	if e := cfg.Environments[env]; e != nil && e.Platform == config.LocalPlatform {
		return nil, fmt.Errorf("the environment %s is on the local platform of `aksflow up`, which a container cannot look up: "+
			"use the aksflow command, or an environment that names registry, namespace and gitops.repo, with-registry, with-git and with-cluster", env)
	}
	repository, err := m.repository(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c := m.program().
		WithMountedDirectory(repositoryPath, repository).
		WithWorkdir(repositoryPath).
		WithEnvVariable("TERM", "dumb").
		WithEnvVariable("HOME", "/tmp").
		WithEnvVariable("AKSFLOW_USER", cmp.Or(m.By, unnamed)).
		WithEnvVariable("AKSFLOW_RUN_URL", m.RunURL)
	variables, err := pairs("variables", m.Variables)
	if err != nil {
		return nil, err
	}
	for name, value := range variables {
		c = c.WithEnvVariable(name, value)
	}
	if m.RegistryPassword != nil {
		c = c.WithSecretVariable(registryPassword, m.RegistryPassword)
	}
	if c, err = m.withAzure(ctx, m.withGit(c, cfg)); err != nil {
		return nil, err
	}
	prepared := &command{container: m.withSigner(c, cfg), flags: []string{"--config", cfg.Path(), "--result", resultPath}}
	return prepared, m.reachServices(ctx, prepared, cfg, registries)
}

// registryPassword is the variable with the registry's password in the program's container.
const registryPassword = "AKSFLOW_REGISTRY_PASSWORD"

// login returns the flags for the registry's login, of verbs that take one.
func (m *AksFlow) login() []string {
	if m.RegistryPassword == nil {
		return nil
	}
	return flags("--username", m.RegistryUsername, "--password-env", registryPassword)
}

// arguments returns the flags for the build arguments, of verbs that take them.
func (m *AksFlow) arguments() []string {
	var set []string
	for _, pair := range m.BuildArgs {
		set = append(set, "--build-arg", pair)
	}
	return set
}

// withGit gives the container what a bump logs in with. Where aksflow.yaml names a variable for the token, it is that one. Where
// git was given no SSH agent, the container has that of the build, because the key of an image says whether the build has one.
func (m *AksFlow) withGit(c *dagger.Container, cfg *config.Config) *dagger.Container {
	if m.GitToken != nil {
		c = c.WithSecretVariable("AKSFLOW_GIT_TOKEN", m.GitToken).WithEnvVariable("AKSFLOW_GIT_USERNAME", m.GitUsername)
		for _, env := range cfg.Environments {
			if env.GitOps.PasswordEnv != "" {
				c = c.WithSecretVariable(env.GitOps.PasswordEnv, m.GitToken)
			}
		}
	}
	if agent := cmp.Or(m.GitSSHAgent, m.SSHAgent); agent != nil {
		c = c.WithUnixSocket(agentPath, agent).WithEnvVariable("SSH_AUTH_SOCK", agentPath)
	}
	if m.GitKnownHosts != nil {
		c = c.WithFile(knownHostsPath, m.GitKnownHosts).WithEnvVariable("SSH_KNOWN_HOSTS", knownHostsPath)
	}
	return c
}

// missingToken returns an error where a commit is to be pushed with a token that the container would not have. It names the
// function that gives it. target is how the environment is delivered to; "" means as aksflow.yaml says.
func (m *AksFlow) missingToken(ctx context.Context, env, target string) error {
	cfg, err := m.config(ctx, env)
	if err != nil || cfg.Environments[env] == nil {
		return err
	}
	e := cfg.Environments[env]
	variable := e.GitOps.PasswordEnv
	overHTTP := strings.HasPrefix(e.GitOps.Repo, "https://") || strings.HasPrefix(e.GitOps.Repo, "http://")
	if cmp.Or(target, e.Target) != config.Pull || variable == "" || !overHTTP || m.GitToken != nil {
		return nil
	}
	if given, err := pairs("variables", m.Variables); err != nil || given[variable] != "" {
		return err
	}
	return fmt.Errorf("gitops.passwordEnv of the environment %s names the variable %s, and a container has none of your variables: add `with-git --token=env:%s`",
		env, variable, variable)
}

// missingTokenBefore is missingToken for the environment that an image is promoted from, whose repository says what runs there.
func (m *AksFlow) missingTokenBefore(ctx context.Context, env string) error {
	cfg, err := m.parsed(ctx)
	if err != nil || cfg.Environments[env] == nil || cfg.Environments[env].From == "" {
		return err
	}
	return m.missingToken(ctx, cfg.Environments[env].From, "")
}

// withCluster gives the command the kubeconfig. It is also the one of other environments, such as that which an image is
// promoted from.
func (m *AksFlow) withCluster(c *command) {
	if m.Kubeconfig != nil {
		c.container = c.container.WithMountedSecret(kubeconfigPath, m.Kubeconfig).WithEnvVariable("KUBECONFIG", kubeconfigPath)
		c.flags = append(c.flags, "--kubeconfig", kubeconfigPath)
	}
}

// outcome is what a verb said.
type outcome struct {
	text      string // stdout
	document  []byte // JSON
	container *dagger.Container
}

// run runs a verb. Each run is a new one: what a verb does or sees outside of its container is no result to remember.
func (c *command) run(ctx context.Context, verb string, args ...string) (*outcome, error) {
	line := append(append([]string{"aksflow", verb}, c.flags...), args...)
	ended := c.container.
		WithEnvVariable("AKSFLOW_CALL", rand.Text()).
		WithExec(line, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	text, err := ended.Stdout(ctx)
	if err != nil {
		return nil, notStarted(err)
	}
	document, err := ended.File(resultPath).Contents(ctx)
	if err != nil {
		written, _ := ended.Stderr(ctx)
		return nil, notStarted(fmt.Errorf("aksflow %s ended without a result:\n%s", verb, strings.TrimSpace(written)))
	}
	out := &outcome{text: text, document: []byte(document), container: ended}
	var failed failure
	if err := json.Unmarshal(out.document, &failed); err != nil {
		return nil, fmt.Errorf("the result of aksflow %s is no JSON: %w", verb, err)
	}
	if failed.ExitCode != 0 {
		return out, failed.explain(out)
	}
	return out, nil
}

// notStarted adds the remedy to the error of a program that the container cannot run.
func notStarted(err error) error {
	for _, sign := range []string{"no such file or directory", "executable file not found", "exec format error"} {
		if strings.Contains(err.Error(), sign) {
			return fmt.Errorf("the aksflow program does not start: --aksflow wants one for Linux on the engine's machine that needs no C library (CGO_ENABLED=0), and --aksflow-image an image with aksflow on its PATH: %w", err)
		}
	}
	return err
}

// failure is what the JSON of a run says when it failed.
type failure struct {
	ExitCode int               `json:"exitCode"`
	Error    string            `json:"error,omitempty"`
	Reasons  []delivery.Reason `json:"reasons,omitempty"`
}

// explain returns the command's own message with the exit code and the reasons as one line of JSON. Callers by API find
// the whole document in the error's extensions, under aksflow.
func (f failure) explain(out *outcome) error {
	message := here(f.Error)
	if message == "" {
		message = strings.TrimSpace(out.text) // of diff, which found one
	}
	f.Error = ""
	f.Reasons = slices.DeleteFunc(f.Reasons, func(r delivery.Reason) bool { return r.Object == "" }) // the message has them
	line := new(bytes.Buffer)
	enc := json.NewEncoder(line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f); err != nil {
		return err
	}
	return failed{&gqlerror.Error{
		Message:    message + "\n" + strings.TrimSpace(line.String()),
		Extensions: map[string]any{"aksflow": json.RawMessage(out.document)},
	}}
}

// here gives the advice of a message in the words of this module: a container has none of the flags, variables and files that
// the command's user has, and another function gives what they give.
func here(message string) string {
	if before, _, found := strings.Cut(message, "no login to Azure is configured"); found {
		return before + "no login to Azure is configured: add `with-azure`, or `with-cluster` with the kubeconfig of the cluster"
	}
	for _, advice := range elsewhere {
		message = advice.command.ReplaceAllString(message, advice.module)
	}
	return message
}

// elsewhere is the advice of the command that is another one here.
var elsewhere = []struct {
	command *regexp.Regexp
	module  string
}{
	{regexp.MustCompile("no (?:kubeconfig|cluster is configured) (?:at|in) \\S+: name (?:one|a kubeconfig) with --kubeconfig, or make one with `az aks get-credentials`"),
		"no cluster is configured: add `with-cluster --kubeconfig=file:PATH`"},
	{regexp.MustCompile("the server wants credentials, and none are configured: .*"),
		"the server wants credentials: add `with-git --token=env:NAME`"},
	{regexp.MustCompile(`gitops\.passwordEnv names the variable (\w+), which is not set`),
		"$0: add `with-git --token=env:$1`"},
	{regexp.MustCompile(`required variable (\w+) is missing a value(?:: [^;\n]*)?`),
		"$0: add `--variables=$1=VALUE` before the function"},
	{regexp.MustCompile(`"\$\{?(\w+)\}?" is empty: set the variable that it names`),
		"the variable $1 is not set: add `--variables=$1=VALUE` before the function"},
	{regexp.MustCompile("nothing listens at ((?:localhost|127\\.[0-9.]+|\\[::1\\])(?::[0-9]+)?): check the address, and that the registry runs \\(`aksflow up` starts a local one\\)"),
		"it is on your machine, and a container cannot reach it there: add `with-registry --server=tcp://$1`"},
	{regexp.MustCompile("no local platform runs in \\S+: `aksflow up` starts one"),
		"the environment is on the local platform of `aksflow up`, which a container cannot look up: use the aksflow command, or another environment"},
}

// failed prints its message only, without the prefix that gqlerror adds.
type failed struct{ err *gqlerror.Error }

func (f failed) Error() string { return f.err.Message }

// Unwrap returns the error that Dagger takes the extensions from.
func (f failed) Unwrap() error { return f.err }
