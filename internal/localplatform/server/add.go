//go:build linux

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/localplatform"
)

// joining lists the parts that can join a platform that runs: those that no listener of the host belongs to.
var joining = []localplatform.Part{localplatform.ArgoCD, localplatform.Flux}

// joinSocket is where the supervisor takes the configuration of a platform with more parts.
func (s state) joinSocket() string { return s.run("join") }

// join starts parts in the platform that runs, and keeps all else of it as it is. done is false if that is not possible:
// the platform is then to be started anew.
func join(ctx context.Context, s state, info *localplatform.Info, missing []localplatform.Part, o localplatform.Options) (done bool, err error) {
	if slices.ContainsFunc(missing, func(p localplatform.Part) bool { return !slices.Contains(joining, p) }) {
		return false, nil
	}
	running := new(config)
	if err := localplatform.ReadJSON(s.configFile(), running); err != nil {
		return false, nil
	}
	c, err := configure(s, slices.Concat(info.Parts, missing), o)
	if err != nil {
		return true, err
	}
	// Its processes look for programs along the PATH that it was started with.
	if path := searchPath(running.Programs); path != searchPath(c.Programs) {
		return false, nil
	}
	c.Ports, c.Hierarchies = running.Ports, running.Hierarchies
	c.RegistryUser, c.RegistryPassword, c.AzureTokens, c.FreePorts = running.RegistryUser, running.RegistryPassword, running.AzureTokens, running.FreePorts

	began := time.Now()
	supervisor, err := dialUnix(s.joinSocket())
	if err != nil {
		return false, nil
	}
	defer supervisor.Close()
	defer context.AfterFunc(ctx, func() { supervisor.Close() })()
	if err := json.NewEncoder(supervisor).Encode(c); err != nil {
		return true, fmt.Errorf("adding %s to the local platform: %w", names(missing), err)
	}
	if err := awaitParts(ctx, c, json.NewDecoder(supervisor), nil); err != nil {
		return true, err
	}
	full := c.info()
	full.PID, full.Started = info.PID, info.Started
	*info = *full
	if err := writeJSON(s.InfoFile(), info); err != nil {
		return true, err
	}
	report.Progressf(ctx, "platform", "has %s after %.1f s", names(missing), time.Since(began).Seconds())
	return true, nil
}

// dialUnix connects to a socket whose path may be longer than an address of a socket can be.
func dialUnix(path string) (net.Conn, error) {
	f, err := os.Open(path[:len(path)-len("/join")])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/join", f.Fd()))
}

// listenForParts returns a listener for those who want more parts. The working directory is the platform's, so that the
// address is short.
func (s *supervisor) listenForParts() (net.Listener, error) {
	l, err := net.Listen("unix", "run/join")
	if err != nil {
		return nil, fmt.Errorf("listening for more parts: %w", err)
	}
	return l, os.Chmod("run/join", 0o600)
}

// takeParts starts the parts that others ask for, one request after the other, until this process ends.
func (s *supervisor) takeParts(l net.Listener) {
	started := slices.Clone(s.Parts)
	for {
		conn, err := l.Accept()
		if err != nil {
			s.fail(fmt.Errorf("listening for more parts: %w", err))
			return
		}
		c := new(config)
		if json.NewDecoder(conn).Decode(c) == nil { // else whoever asked has ended
			// Some may have been started for one who did not wait.
			parts := slices.DeleteFunc(slices.Clone(c.Parts), func(p localplatform.Part) bool { return slices.Contains(started, p) })
			if s.takePart(c, parts, conn) {
				started = append(started, parts...)
			}
		}
		conn.Close()
	}
}

// takePart starts parts, and tells the one who asked how it goes. It reports whether they were started. A part that fails
// ends the platform, as it does at the start.
func (s *supervisor) takePart(c *config, parts []localplatform.Part, conn net.Conn) bool {
	more := &supervisor{config: c, inherited: s.inherited, events: json.NewEncoder(conn), done: s.done, failed: s.failed}
	tasks, err := more.tasks(parts)
	if err != nil {
		more.tell(event{Error: err.Error()})
		return false
	}
	s.joining.Store(more)
	defer s.joining.Store(nil)
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	<-more.start(ctx, tasks) // stays open if a task failed; then the platform ends
	more.tell(event{Ready: true})
	return true
}
