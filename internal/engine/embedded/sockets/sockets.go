// Package sockets forwards sockets of the host to containers, by way of what BuildKit has for SSH agents.
package sockets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/moby/buildkit/session/sshforward"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Forwarder lets the containers of a session connect to sockets of the host. The zero value has none.
type Forwarder struct {
	mu    sync.Mutex
	agent string                                             // the path of the SSH agent's; "" without one
	dial  map[string]func(context.Context) (net.Conn, error) // by the ID that BuildKit knows
}

var _ sshforward.SSHServer = (*Forwarder)(nil)

// Register implements [bksession.Attachable].
func (s *Forwarder) Register(server *grpc.Server) { sshforward.RegisterSSHServer(server, s) }

// UseAgent makes a socket that of the SSH agent. All builds of a session use one agent, because BuildKit asks by the name
// in the Dockerfile, which says nothing about the build.
func (s *Forwarder) UseAgent(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return fmt.Errorf("the SSH agent does not answer: %w; start one (eval $(ssh-agent); ssh-add), or unset SSH_AUTH_SOCK", err)
	}
	_ = conn.Close() // it only showed that somebody listens
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent != "" && s.agent != socket {
		return fmt.Errorf("two SSH agents in one session, %s and %s: the embedded engine forwards one", s.agent, socket)
	}
	s.agent = socket
	return nil
}

// Add makes a Unix socket known, and returns the ID under which BuildKit asks for it.
func (s *Forwarder) Add(path string) (id string) { return s.add("unix", path) }

// AddTCP makes an address HOST:PORT known, and returns the ID under which BuildKit asks for it.
func (s *Forwarder) AddTCP(address string) (id string) { return s.add("tcp", address) }

// AddSession makes the address HOST:PORT of the engine's own session known, which has one ID wherever it is.
func (s *Forwarder) AddSession(address string) (id string) {
	const session = "session"
	s.addAs(session, "tcp", address)
	return session
}

func (s *Forwarder) add(network, address string) string {
	sum := sha256.Sum256([]byte(network + " " + address))
	id := "socket-" + hex.EncodeToString(sum[:8])
	s.addAs(id, network, address)
	return id
}

func (s *Forwarder) addAs(id, network, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dial == nil {
		s.dial = map[string]func(context.Context) (net.Conn, error){}
	}
	s.dial[id] = func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, address) }
}

// connect connects to the socket with an ID, or to the SSH agent for an ID that nobody has added.
func (s *Forwarder) connect(ctx context.Context, id string) (net.Conn, error) {
	s.mu.Lock()
	dial, agent := s.dial[id], s.agent
	s.mu.Unlock()
	if dial != nil {
		return dial(ctx)
	}
	if agent == "" {
		return nil, errors.New("RUN --mount=type=ssh needs an SSH agent, and SSH_AUTH_SOCK names none: start one (eval $(ssh-agent); ssh-add)")
	}
	return new(net.Dialer).DialContext(ctx, "unix", agent)
}

// CheckAgent implements [sshforward.SSHServer].
func (s *Forwarder) CheckAgent(ctx context.Context, r *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	s.mu.Lock()
	_, known := s.dial[r.GetID()]
	s.mu.Unlock()
	if known { // whether somebody listens shows when a container connects
		return &sshforward.CheckAgentResponse{}, nil
	}
	conn, err := s.connect(ctx, r.GetID())
	if err != nil {
		return nil, err
	}
	return &sshforward.CheckAgentResponse{}, conn.Close()
}

// ForwardAgent implements [sshforward.SSHServer].
func (s *Forwarder) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	id := ""
	if md, ok := metadata.FromIncomingContext(stream.Context()); ok && len(md[sshforward.KeySSHID]) > 0 {
		id = md[sshforward.KeySSHID][0]
	}
	conn, err := s.connect(stream.Context(), id)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		var message sshforward.BytesMessage
		for stream.RecvMsg(&message) == nil {
			if _, err := conn.Write(message.Data); err != nil {
				return
			}
		}
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	// The stream ends when the host's side has said all: that is how the container's side learns of it.
	buffer := make([]byte, 32<<10)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if err := stream.SendMsg(&sshforward.BytesMessage{Data: buffer[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
