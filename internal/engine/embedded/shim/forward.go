//go:build linux

package main

import (
	"errors"
	"io"
	"net"
	"path/filepath"

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
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					failed <- err
					return
				}
				go relay(conn.(*net.TCPConn), filepath.Join(contract.Forward, port))
			}
		}()
	}
	if len(ports) == 0 {
		return exitNotExecutable, errors.New("forward: no ports")
	}
	return exitNotExecutable, <-failed
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
