//go:build linux

package server

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/crypto/bcrypt"
	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/controlplane"
	"github.com/aksflow/aksflow/internal/localplatform/process"
)

const argocdNamespace = "argocd"

// Ports inside the namespaces.
const (
	argoRedisPort, argoRepoServerPort, argoRepoMetricsPort   = 6379, 8081, 8084
	argoMetricsPort, argoServerMetricsPort                   = 8082, 8083
	argoSetMetricsPort, argoSetProbePort, argoSetWebhookPort = 8085, 8086, 7000
)

// Tasks that others wait for.
const (
	argoRedisTask      = "argocd-redis"
	argoRepoServerTask = "argocd-repo-server"
	argoObjectsTask    = "argocd objects"
	argoSetObjectsTask = "argocd-applicationset objects"
	argoControllerTask = "argocd-application-controller"
	argoSetTask        = "argocd-applicationset-controller"
)

// argocdObjects are Argo CD's own objects that are the same everywhere.
//
//go:embed argocd.yaml
var argocdObjects []byte

// definitions reads resource definitions of an operator, in the order of patterns. `make setup` copies them from the
// operator's module into a directory beside its program.
func (c *config) definitions(operator, program, dir string, patterns ...string) ([][]byte, error) {
	dir = filepath.Join(filepath.Dir(c.Programs[program]), dir)
	var definitions [][]byte
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("no resource definitions %s of %s in %s: `make setup` puts them there", pattern, operator, dir)
		}
		for _, file := range files {
			definition, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("starting %s: %w", operator, err)
			}
			definitions = append(definitions, definition)
		}
	}
	return definitions, nil
}

// verifiesNothing stands for a program of Argo CD's image that verifies signatures of commits. They are not verified here, and
// the repository server calls it all the same.
const verifiesNothing = "#!/bin/sh\nexit 0\n"

// argocd returns the tasks that start Argo CD without a user interface. Its servers run beside the cluster instead of in
// it, because there is no image of them. The cluster sees no difference.
func (s *supervisor) argocd() ([]task, error) {
	const crds = "argocd-crds"
	definitions, err := s.definitions("Argo CD", "argocd", crds, "application-crd.yaml", "appproject-crd.yaml")
	if err != nil {
		return nil, err
	}
	// It has a megabyte, which takes the API server seconds, and only one controller needs it.
	setDefinition, err := s.definitions("Argo CD", "argocd", crds, "applicationset-crd.yaml")
	if err != nil {
		return nil, err
	}
	secrets, err := s.argocdSecrets()
	if err != nil {
		return nil, err
	}
	objects := append(append(definitions, argocdObjects), secrets...)
	if err := s.argocdFiles(); err != nil {
		return nil, fmt.Errorf("starting Argo CD: %w", err)
	}
	redis := fmt.Sprintf("127.0.0.1:%d", argoRedisPort)
	ready := []string{argoObjectsTask, argoRedisTask, argoRepoServerTask}
	return []task{
		s.serve(process.Spec{
			Name: argoRedisTask, Path: s.Programs["redis-server"],
			Args: []string{
				"--bind", "127.0.0.1", "--port", strconv.Itoa(argoRedisPort), "--save", "", "--appendonly", "no",
				"--dir", s.State.run("argocd"),
			},
			Ready: listens(redis),
		}),
		s.serve(s.argo("repo-server",
			controlplane.Answers(plainClient, fmt.Sprintf("http://127.0.0.1:%d/metrics", argoRepoMetricsPort)),
			"--address=127.0.0.1", "--port="+strconv.Itoa(argoRepoServerPort), "--redis="+redis,
			"--disable-tls", "--client-ca-path=", // which has a default, that is refused without TLS
			"--metrics-address=127.0.0.1", "--metrics-port="+strconv.Itoa(argoRepoMetricsPort),
		), argoRedisTask),
		{name: argoObjectsTask, after: []string{apiTask}, quiet: true, run: func(ctx context.Context) error {
			return s.create(ctx, objects)
		}},
		{name: argoSetObjectsTask, after: []string{argoObjectsTask}, quiet: true, run: func(ctx context.Context) error {
			return s.create(ctx, setDefinition)
		}},
		s.serve(s.argo("application-controller",
			controlplane.Answers(plainClient, fmt.Sprintf("http://127.0.0.1:%d/healthz", argoMetricsPort)),
			s.argoControllerFlags(redis)...,
		), ready...),
		s.serve(s.argo("applicationset-controller",
			listens(fmt.Sprintf("127.0.0.1:%d", argoSetProbePort)), // it answers no health check
			fmt.Sprintf("--metrics-addr=127.0.0.1:%d", argoSetMetricsPort), fmt.Sprintf("--probe-addr=127.0.0.1:%d", argoSetProbePort),
			fmt.Sprintf("--webhook-addr=127.0.0.1:%d", argoSetWebhookPort),
			"--namespace="+argocdNamespace, "--kubeconfig="+s.controlPlane().Admin(), "--loglevel=warn",
			fmt.Sprintf("--argocd-repo-server=127.0.0.1:%d", argoRepoServerPort), "--repo-server-plaintext",
		), append(ready, argoSetObjectsTask)...),
		{name: string(localplatform.ArgoCD), after: []string{argoControllerTask, argoSetTask},
			run: func(context.Context) error { return nil }},
	}, nil
}

// argocdFiles makes what Argo CD's image has: directories, and a program for each commit.
func (s *supervisor) argocdFiles() error {
	for _, dir := range []string{"tls", "ssh", "gpg", "bin"} {
		if err := os.MkdirAll(s.State.run("argocd", dir), 0o700); err != nil {
			return err
		}
	}
	return os.WriteFile(s.State.run("argocd", "bin", "git-verify-wrapper.sh"), []byte(verifiesNothing), 0o700)
}

func (s *supervisor) argoControllerFlags(redis string) []string {
	flags := []string{
		"--status-processors=4", "--operation-processors=4", // for a handful of applications, not hundreds
		"--metrics-port=" + strconv.Itoa(argoMetricsPort), "--redis=" + redis,
		// Repair drift at once. The pause between two syncs of the same commit keeps its default.
		"--self-heal-timeout-seconds=1",
	}
	if s.ArgoCDPoll > 0 {
		flags = append(flags, fmt.Sprintf("--app-resync=%d", max(1, int(s.ArgoCDPoll/time.Second))), "--app-resync-jitter=0")
	}
	return append(flags, s.argoClient()...)
}

// argocdServer is Argo CD's API, with the user admin. It is a program of its own: only those who ask for it build it.
func (s *supervisor) argocdServer() ([]task, error) {
	address := "127.0.0.1:" + strconv.Itoa(s.Ports[argocdListener])
	forward(s.inherited[argocdListener], address)
	spec := s.argo("server", controlplane.Answers(plainClient, "http://"+address+"/healthz"),
		append([]string{
			"--insecure", "--address=127.0.0.1", "--port=" + strconv.Itoa(s.Ports[argocdListener]),
			"--metrics-address=127.0.0.1", "--metrics-port=" + strconv.Itoa(argoServerMetricsPort),
			fmt.Sprintf("--redis=127.0.0.1:%d", argoRedisPort),
		}, s.argoClient()...)...,
	)
	spec.Path = s.Programs["argocd-server"]
	server := s.serve(spec, argoObjectsTask, argoRedisTask, argoRepoServerTask)
	server.quiet = false
	return []task{server}, nil
}

// argo returns one of Argo CD's servers. ARGOCD_BINARY_NAME selects which one the program is.
func (s *supervisor) argo(name string, ready func(context.Context) error, args ...string) process.Spec {
	dir := s.State.run("argocd")
	return process.Spec{
		Name: "argocd-" + name, Path: s.Programs["argocd"], Args: args, Ready: ready,
		Env: []string{
			"ARGOCD_BINARY_NAME=argocd-" + name, "PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"),
			// The cluster that Applications call https://kubernetes.default.svc is that of KUBECONFIG.
			"ARGOCD_FAKE_IN_CLUSTER=true", "KUBECONFIG=" + s.controlPlane().Admin(),
			"ARGOCD_TLS_DATA_PATH=" + filepath.Join(dir, "tls"), "ARGOCD_SSH_DATA_PATH=" + filepath.Join(dir, "ssh"),
			"ARGOCD_GPG_ENABLED=false", "ARGOCD_PLUGINSOCKFILEPATH=" + filepath.Join(dir, "plugins"),
			// The default is in /tmp, which all platforms of a machine share.
			"ARGOCD_ASK_PASS_SOCK=/run/aksflow/argocd-ask-pass.sock",
		},
	}
}

// argoClient returns the flags with which Argo CD's servers reach the cluster and the repository server.
func (s *supervisor) argoClient() []string {
	return []string{
		"--namespace=" + argocdNamespace, "--kubeconfig=" + s.controlPlane().Admin(), "--loglevel=warn",
		fmt.Sprintf("--repo-server=127.0.0.1:%d", argoRepoServerPort), "--repo-server-plaintext",
	}
}

// argocdSecrets returns the Secrets with Argo CD's keys, its user admin, and the password of the platform's git server.
func (s *supervisor) argocdSecrets() ([][]byte, error) {
	password, err := keepPassword(s.State.argocdPasswordFile())
	if err != nil {
		return nil, err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost) // cheap is enough for a long random password
	if err != nil {
		return nil, fmt.Errorf("starting Argo CD: %w", err)
	}
	var secrets [][]byte
	for _, secret := range []struct {
		name string
		kind string // the label by which Argo CD finds it
		data map[string]string
	}{
		{name: "argocd-secret", data: map[string]string{
			"server.secretkey": rand.Text(), "admin.password": string(hash), "admin.passwordMtime": time.Now().UTC().Format(time.RFC3339),
		}},
		{name: "git", kind: "repo-creds", data: map[string]string{
			"type": "git", "url": s.info().Git, "username": s.GitUser, "password": s.GitPassword,
		}},
	} {
		labels := map[string]string{"app.kubernetes.io/name": secret.name, "app.kubernetes.io/part-of": "argocd"}
		if secret.kind != "" {
			labels["argocd.argoproj.io/secret-type"] = secret.kind
		}
		data, err := yaml.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Secret",
			"metadata":   map[string]any{"name": secret.name, "namespace": argocdNamespace, "labels": labels},
			"stringData": secret.data,
		})
		if err != nil {
			return nil, fmt.Errorf("starting Argo CD: %w", err)
		}
		secrets = append(secrets, data)
	}
	return secrets, nil
}
