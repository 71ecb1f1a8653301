package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moby/spdystream"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

// Target is a port of a pod.
type Target struct {
	Namespace, Pod string
	Port           int
}

// Forward listens on a free port of this machine, for this machine only, and passes each connection on to a pod through the API
// server, until ctx ends. pick is asked for the pod of each, and failed is told why one could not be passed on. It returns the
// address, HOST:PORT.
//
// It needs the right to create pods/portforward.
func (c *Cluster) Forward(ctx context.Context, pick func(context.Context) (Target, error), failed func(error)) (address string, err error) {
	// A connection of HTTP/2 cannot become one of another protocol.
	config := rest.CopyConfig(c.config)
	config.NextProtos = []string{"http/1.1"}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return "", err
	}
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listening for the page: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				to, err := pick(ctx)
				if err == nil {
					err = c.forward(ctx, client, conn, to)
				}
				if err != nil && ctx.Err() == nil {
					failed(err)
				}
			}()
		}
	}()
	return listener.Addr().String(), nil
}

// streamTimeout is how long the API server may take to open a stream.
const streamTimeout = 30 * time.Second

// forward passes one connection on, as `kubectl port-forward` does: over a connection of SPDY with a stream for the data, and
// one for an error.
func (c *Cluster) forward(ctx context.Context, client *http.Client, conn net.Conn, to Target) error {
	tunnel, err := c.tunnel(ctx, client, to)
	if err != nil {
		return err
	}
	defer tunnel.Close()
	defer context.AfterFunc(ctx, func() { _ = tunnel.Close() })()
	open := func(kind string) (*spdystream.Stream, error) {
		headers := http.Header{}
		headers.Set(corev1.StreamType, kind)
		headers.Set(corev1.PortHeader, strconv.Itoa(to.Port))
		headers.Set(corev1.PortForwardRequestIDHeader, "0")
		stream, err := tunnel.CreateStream(headers, nil, false)
		if err == nil {
			err = stream.WaitTimeout(streamTimeout)
		}
		return stream, err
	}
	problems, err := open(corev1.StreamTypeError)
	if err != nil {
		return fmt.Errorf("reaching Pod/%s: %w", to.Pod, err)
	}
	_ = problems.Close() // nothing is sent there
	data, err := open(corev1.StreamTypeData)
	if err != nil {
		return fmt.Errorf("reaching Pod/%s: %w", to.Pod, err)
	}
	go func() {
		_, _ = io.Copy(data, conn)
		_ = data.Close() // this side only: the answer may still come
	}()
	_, copying := io.Copy(conn, data)
	if text, err := io.ReadAll(io.LimitReader(problems, maxAnswer)); err == nil && len(text) > 0 {
		return fmt.Errorf("Pod/%s: %s", to.Pod, strings.TrimSpace(string(text)))
	}
	if errors.Is(copying, net.ErrClosed) {
		return nil
	}
	return copying
}

// tunnel opens a connection of SPDY to a pod.
func (c *Cluster) tunnel(ctx context.Context, client *http.Client, to Target) (*spdystream.Connection, error) {
	url := c.core.RESTClient().Post().Namespace(to.Namespace).Resource("pods").Name(to.Pod).SubResource("portforward").URL()
	request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, url.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", "SPDY/3.1")
	request.Header.Set("X-Stream-Protocol-Version", "portforward.k8s.io")
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reaching Pod/%s through the API server: %w", to.Pod, rootCause(err))
	}
	stream, ok := answer.Body.(io.ReadWriteCloser)
	if answer.StatusCode != http.StatusSwitchingProtocols || !ok {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusForbidden {
			return nil, &PermissionError{User: "this user", Verb: "create", Resource: "pods/portforward", Namespace: to.Namespace}
		}
		return nil, fmt.Errorf("the API server opens no connection to Pod/%s: %s: %s", to.Pod, answer.Status, strings.TrimSpace(string(text)))
	}
	tunnel, err := spdystream.NewConnection(upgraded{stream}, false)
	if err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	go tunnel.Serve(spdystream.NoOpStreamHandler)
	return tunnel, nil
}

// upgraded is what an HTTP connection became, as a net.Conn. It has no deadlines, and its addresses are not known.
type upgraded struct{ io.ReadWriteCloser }

func (upgraded) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (upgraded) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (upgraded) SetDeadline(time.Time) error      { return nil }
func (upgraded) SetReadDeadline(time.Time) error  { return nil }
func (upgraded) SetWriteDeadline(time.Time) error { return nil }
