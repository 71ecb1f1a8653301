package image

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// pinned connects to each address at the server that the first connection reached. The name of a geo-replicated registry
// leads to one replica now and to another one later, and what was sent to the first is not at once at the second.
// https://learn.microsoft.com/azure/container-registry/container-registry-geo-replication
type pinned struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu      sync.Mutex
	reached map[string]string // by the address that was asked for
}

// pin makes a transport connect through a pinned.
func pin(t *http.Transport) *http.Transport {
	p := &pinned{dial: t.DialContext, reached: map[string]string{}}
	if p.dial == nil {
		p.dial = new(net.Dialer).DialContext
	}
	t.DialContext = p.DialContext
	return t
}

// DialContext is for http.Transport. A server that does not answer any more gives its place to another one.
func (p *pinned) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	p.mu.Lock()
	to := p.reached[address]
	p.mu.Unlock()
	if to != "" {
		conn, err := p.dial(ctx, network, to)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
	}
	conn, err := p.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	server, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return conn, nil
	}
	p.mu.Lock()
	first := p.reached[address]
	if first == to { // nobody else has chosen one meanwhile
		first = server.String()
		p.reached[address] = first
	}
	p.mu.Unlock()
	if first == server.String() {
		return conn, nil
	}
	_ = conn.Close()
	return p.dial(ctx, network, first)
}
