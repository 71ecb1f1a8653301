package gittest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skeema/knownhosts"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// SSHServer serves the repositories of a directory to one key. It returns its address and the line for known_hosts.
func SSHServer(t *testing.T, dir string, client ssh.PublicKey) (address, knownHost string) {
	t.Helper()
	gitBackend(t)
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	host, err := ssh.NewSignerFromKey(hostKey)
	require.NoError(t, err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), client.Marshal()) {
			return nil, fmt.Errorf("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveSSH(conn, config, dir)
		}
	}()
	return listener.Addr().String(), knownhosts.Line([]string{listener.Addr().String()}, host.PublicKey())
}

func serveSSH(conn net.Conn, config *ssh.ServerConfig, dir string) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				if r.Type != "exec" {
					continue
				}
				_ = r.Reply(true, nil)
				command := string(r.Payload[4:]) // git-upload-pack '/config.git'
				program, path, _ := strings.Cut(command, " ")
				cmd := exec.Command("git", strings.TrimPrefix(program, "git-"), filepath.Join(dir, strings.Trim(path, "'")))
				cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
				code := 0
				// Not cmd.Stdin: Run would wait for the client to close its side.
				if in, err := cmd.StdinPipe(); err == nil {
					go func() {
						_, _ = io.Copy(in, channel)
						in.Close()
					}()
				}
				if err := cmd.Run(); err != nil {
					code = 1
				}
				_, _ = channel.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(code)))
				channel.Close()
			}
		}()
	}
}

// SSHKey makes a private key in OpenSSH form, and returns it with its public half.
func SSHKey(t *testing.T, passphrase string) (key []byte, public ssh.PublicKey) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	require.NoError(t, err)
	public, err = ssh.NewPublicKey(pub)
	require.NoError(t, err)
	return pem.EncodeToMemory(block), public
}
