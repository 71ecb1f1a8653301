//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// forward listens on ports and connects whoever comes to the socket of contract.Forward that the port names.
func forward(ports []string) (int, error) {
	failed := make(chan error)
	for _, port := range ports {
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return exitNotExecutable, err
		}
		go func() { failed <- pass(listener, filepath.Join(contract.Forward, port)) }()
	}
	if len(ports) == 0 {
		return exitNotExecutable, errors.New("forward: no ports")
	}
	return exitNotExecutable, <-failed
}

// pass connects whoever comes to a listener to a socket, until the listener fails.
func pass(listener net.Listener, socket string) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go relay(conn.(*net.TCPConn), socket)
	}
}

// nest gives the commands that are started from now on the engine's session, if the container has its socket: it passes
// connections to a free port of the loopback interface on. The commands have the token already.
func nest() error {
	if _, err := os.Stat(contract.Session); err != nil {
		return nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("pass the session on: %w", err)
	}
	go pass(listener, contract.Session) //nolint:errcheck // it ends with this process
	return os.Setenv(contract.SessionPort, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
}

// relay copies between a connection and a socket, until both sides have said all.
func relay(conn *net.TCPConn, socket string) {
	defer conn.Close()
	other, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer other.Close()
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(conn, other)
		_ = conn.CloseWrite()
	}()
	_, _ = io.Copy(other, conn)
	_ = other.(*net.UnixConn).CloseWrite()
	<-back
}
