package standin

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// proxy is an HTTP proxy that knows the stand-in's hosts only: nothing leaves the machine.
func (s *Server) proxy(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		if r.URL.Hostname() != metadataAddress {
			http.Error(w, "the stand-in for Azure does not know "+r.URL.Host, http.StatusBadGateway)
			return
		}
		s.handler.ServeHTTP(w, r)
		return
	}
	host, _, err := net.SplitHostPort(r.Host)
	cluster := err == nil && s.isAPIServer(host)
	if err != nil || !cluster && !known(host) {
		http.Error(w, "the stand-in for Azure does not know "+r.Host, http.StatusBadGateway)
		return
	}
	var inside net.Conn
	if cluster {
		if inside, err = net.Dial("tcp", s.o.APIServer); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil || buffered.Reader.Buffered() > 0 {
		_ = conn.Close()
		return
	}
	if !cluster {
		s.conns <- conn
		return
	}
	carry(conn, inside)
}

// known reports whether the stand-in's certificate is for the host.
func known(host string) bool {
	_, domain, _ := strings.Cut(host, ".")
	return slices.Contains(hosts, host) || slices.Contains(hosts, "*."+domain)
}

// isAPIServer reports whether a cluster of the estate has this name.
func (s *Server) isAPIServer(host string) bool {
	return slices.ContainsFunc(s.Estate().Clusters, func(c Cluster) bool { return !c.Unreachable && c.FQDN() == host })
}

// carry copies both ways until both ends are closed.
func carry(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [2][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // a broken connection ends both ways
			_ = way[0].Close()
		})
	}
	both.Wait()
}

// connListener accepts the connections that the proxy hands over.
type connListener struct {
	conns chan net.Conn
	addr  net.Addr
}

func (l *connListener) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

// Close does nothing: the channel lives as long as the proxy.
func (l *connListener) Close() error   { return nil }
func (l *connListener) Addr() net.Addr { return l.addr }
