//go:build linux

package localplatform

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/aksflow/aksflow/internal/localplatform/cgroup"
	"github.com/aksflow/aksflow/internal/localplatform/gitserver"
)

// state is the directory of one platform.
type state string

func (s state) path(elem ...string) string {
	return filepath.Join(append([]string{string(s)}, elem...)...)
}

// What lies in it. The registry's and git's files outlive a platform, and the logs do; the rest is made anew.
func (s state) lockFile() string        { return s.path("lock") }        // held by the keeper while the platform runs
func (s state) upLockFile() string      { return s.path("up.lock") }     // held by an Up: one at a time
func (s state) infoFile() string        { return s.path("info.json") }   // there while the platform is ready
func (s state) crashFile() string       { return s.path("crash.json") }  // why the last platform ended, unless by Down
func (s state) configFile() string      { return s.path("config.json") } // for the platform's own processes
func (s state) gitPasswordFile() string { return s.path("git-password") }
func (s state) kubeconfig() string      { return s.path("kubeconfig") }
func (s state) logs() string            { return s.path("logs") }
func (s state) log() string             { return s.path("logs", "platform.log") } // of the platform's own processes
func (s state) repositories() string    { return s.path("git") }

// run is for what is made anew each time and removed at the end.
func (s state) run(elem ...string) string { return s.path(append([]string{"run"}, elem...)...) }

func (s state) argocdPasswordFile() string { return s.path("argocd-password") }

// group is the name of the platform's control group: the same for the same directory, different for others.
func (s state) group() string {
	sum := sha256.Sum256([]byte(s))
	return "aksflow-platform-" + hex.EncodeToString(sum[:4])
}

// openState makes the directory and gives it its one name.
func openState(dir string) (state, error) {
	if dir == "" {
		return "", errors.New("the platform needs a state directory")
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("opening the platform's state directory: %w", err)
	}
	return state(dir), nil
}

// config is what Up tells the platform's own processes.
type config struct {
	State    state
	Parts    []Part
	Programs map[string]string // name to path
	CNI      string            // directory of the CNI plugins

	FreePorts                      bool
	RegistryUser, RegistryPassword string
	GitUser, GitPassword           string
	ArgoCDPoll                     time.Duration

	// Filled in by the keeper.
	Ports       map[string]int // listener to port
	Hierarchies []cgroup.Hierarchy
}

func (c *config) has(p Part) bool { return slices.Contains(c.Parts, p) }

// git is the platform's git server, as who has access to its files sees it.
func (c *config) git() *gitserver.Server {
	return &gitserver.Server{Root: c.State.repositories(), User: c.GitUser, Password: c.GitPassword}
}

// crash says why a platform ended that nobody ended.
type crash struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
}

// event is what the platform's processes tell Up while it starts, one JSON document a line.
type event struct {
	Part    string        `json:"part,omitempty"` // what is ready now, or what Message and Warning are about
	Elapsed time.Duration `json:"elapsed,omitempty"`
	Warning string        `json:"warning,omitempty"`
	Error   string        `json:"error,omitempty"` // the end: why
	Ready   bool          `json:"ready,omitempty"` // everything is
	Info    *Info         `json:"info,omitempty"`  // with the registry: where it is
}

// brings lists what a part cannot be without.
var brings = map[Part][]Part{
	Registry:     nil,
	Git:          nil,
	Kubernetes:   {Registry},
	ArgoCD:       {Kubernetes, Git},
	ArgoCDServer: {ArgoCD},
	Flux:         {Kubernetes, Git},
}

// withDependencies returns parts and all they bring, each once, what is needed first.
func withDependencies(parts []Part) ([]Part, error) {
	var all []Part
	var add func(p Part) error
	add = func(p Part) error {
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

// readJSON reads a file of the state directory. One that is not there is fs.ErrNotExist.
func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return err
}

// writeJSON replaces a file whole: who reads it sees the old one or the new one. It may hold secrets.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err == nil {
		err = os.WriteFile(path+".new", append(data, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
