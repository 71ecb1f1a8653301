// Package sshagent forwards the SSH agent of the host to the steps of builds.
package sshagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/moby/buildkit/session/sshforward"
	"google.golang.org/grpc"
)

// Agent lets the steps of a session use the SSH agent of the host. The zero value has none.
type Agent struct {
	mu     sync.Mutex
	socket string // its path; "" without an agent
}

var _ sshforward.SSHServer = (*Agent)(nil)

// Register implements [bksession.Attachable].
func (s *Agent) Register(server *grpc.Server) { sshforward.RegisterSSHServer(server, s) }

// Use makes a socket the agent's. All builds of a session use one agent, because BuildKit asks by the name in the
// Dockerfile, which says nothing about the build.
func (s *Agent) Use(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return fmt.Errorf("the SSH agent does not answer: %w; start one (eval $(ssh-agent); ssh-add), or unset SSH_AUTH_SOCK", err)
	}
	_ = conn.Close() // it only showed that somebody listens
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.socket != "" && s.socket != socket {
		return fmt.Errorf("two SSH agents in one session, %s and %s: the embedded engine forwards one", s.socket, socket)
	}
	s.socket = socket
	return nil
}

func (s *Agent) dial(ctx context.Context) (net.Conn, error) {
	s.mu.Lock()
	socket := s.socket
	s.mu.Unlock()
	if socket == "" {
		return nil, errors.New("RUN --mount=type=ssh needs an SSH agent, and SSH_AUTH_SOCK names none: start one (eval $(ssh-agent); ssh-add)")
	}
	return new(net.Dialer).DialContext(ctx, "unix", socket)
}

// CheckAgent implements [sshforward.SSHServer].
func (s *Agent) CheckAgent(ctx context.Context, _ *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &sshforward.CheckAgentResponse{}, conn.Close()
}

// ForwardAgent implements [sshforward.SSHServer].
func (s *Agent) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	conn, err := s.dial(stream.Context())
	if err != nil {
		return err
	}
	return sshforward.Copy(stream.Context(), conn, stream, nil)
}
