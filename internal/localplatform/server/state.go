//go:build linux

package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/cgroup"
	"github.com/aksflow/aksflow/internal/localplatform/gitserver"
)

// state is the directory of one platform, with the files that only the platform's own processes use. The registry's and
// git's files and the logs outlive a platform; the rest is made anew.
type state struct{ localplatform.State }

func openState(dir string) (state, error) {
	s, err := localplatform.OpenState(dir)
	return state{s}, err
}

// upLockFile is locked by an Up, so that one works at a time.
func (s state) upLockFile() string { return s.Path("up.lock") }

// configFile holds the config that the platform's own processes read.
func (s state) configFile() string { return s.Path("config.json") }

func (s state) gitPasswordFile() string    { return s.Path("git-password") }
func (s state) argocdPasswordFile() string { return s.Path("argocd-password") }
func (s state) kubeconfig() string         { return s.Path("kubeconfig") }
func (s state) azureEnvFile() string       { return s.run("azure", "env") }
func (s state) azureKeyFile() string       { return s.run("azure", "key") }
func (s state) logs() string               { return s.Path("logs") }

// log is the file that the platform's own processes write to.
func (s state) log() string { return s.Path("logs", "platform.log") }

// run is a path below the directory for what is made anew each time and removed at the end.
func (s state) run(elem ...string) string { return s.Path(append([]string{"run"}, elem...)...) }

// group is the name of the platform's control group: the same for the same directory, different for others.
func (s state) group() string {
	sum := sha256.Sum256([]byte(s.Path()))
	return "aksflow-platform-" + hex.EncodeToString(sum[:4])
}

// config is what Up sends to the platform's own processes.
type config struct {
	State    state
	Parts    []localplatform.Part
	Programs map[string]string // name to path
	CNI      string            // directory of the CNI plugins

	FreePorts                      bool
	RegistryUser, RegistryPassword string
	GitUser, GitPassword           string
	ArgoCDPoll                     time.Duration
	AzureTokens                    time.Duration

	// Filled in by the keeper.
	Ports       map[string]int // listener to port
	Hierarchies []cgroup.Hierarchy
}

func (c *config) has(p localplatform.Part) bool { return slices.Contains(c.Parts, p) }

// git is the platform's git server.
func (c *config) git() *gitserver.Server {
	return &gitserver.Server{Root: c.State.Repositories(), User: c.GitUser, Password: c.GitPassword}
}

// event is what the platform's processes send to Up while the platform starts, one JSON document a line.
type event struct {
	Part    string              `json:"part,omitempty"` // what is ready now
	Elapsed time.Duration       `json:"elapsed,omitempty"`
	Warning string              `json:"warning,omitempty"`
	Error   string              `json:"error,omitempty"` // why the start failed; the last event
	Ready   bool                `json:"ready,omitempty"` // all parts are ready
	Info    *localplatform.Info `json:"info,omitempty"`  // sent with the registry's event, so that images can be pushed
}

// brings lists what a part cannot work without.
var brings = map[localplatform.Part][]localplatform.Part{
	localplatform.Registry:     nil,
	localplatform.Git:          nil,
	localplatform.Kubernetes:   {localplatform.Registry},
	localplatform.ArgoCD:       {localplatform.Kubernetes, localplatform.Git},
	localplatform.ArgoCDServer: {localplatform.ArgoCD},
	localplatform.Flux:         {localplatform.Kubernetes, localplatform.Git},
	localplatform.Azure:        {localplatform.Kubernetes},
}

// withDependencies returns parts and all they bring, each once, in an order in which each part stands after those it
// needs.
func withDependencies(parts []localplatform.Part) ([]localplatform.Part, error) {
	var all []localplatform.Part
	var add func(p localplatform.Part) error
	add = func(p localplatform.Part) error {
		needs, known := brings[p]
		if !known {
			return fmt.Errorf("the platform has no part %q", p)
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
		return nil
	}
	for _, p := range parts {
		if err := add(p); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// writeJSON replaces a file atomically. The file may hold secrets, so only its owner can read it.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err == nil {
		err = renameio.WriteFile(path, append(data, '\n'), 0o600, renameio.IgnoreUmask())
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
