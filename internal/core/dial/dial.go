// Package dial connects to hosts at other addresses than their names lead to, as curl does with --connect-to. Names stay
// what they are: in requests, in TLS and in what SSH knows of a host.
package dial

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Func connects to an address, HOST:PORT.
type Func func(ctx context.Context, network, address string) (net.Conn, error)

// Network is the way to all hosts. The zero value takes the operating system's, and the proxy that the environment names.
type Network struct {
	// Rules lead to other addresses. The first that fits an address counts. No proxy is used there.
	Rules []Rule
	// Dialer replaces the operating system's way for all addresses, if it is not nil. No proxy is used then.
	Dialer Func
}

// Rule leads connections for one address to another one. An empty Host or Port fits each; an empty ToHost or ToPort keeps
// that of the connection.
type Rule struct{ Host, Port, ToHost, ToPort string }

// ParseRule reads HOST:PORT:ENDPOINT, the value of --connect-to, where ENDPOINT is HOST:PORT. As in curl, each part may be
// empty, and an IPv6 address stands in brackets. https://curl.se/docs/manpage.html#--connect-to
func ParseRule(value string) (Rule, error) {
	parts, err := split(value)
	if err == nil && (len(parts) < 3 || len(parts) > 4) {
		err = fmt.Errorf("it has %d parts", len(parts))
	}
	if err != nil {
		return Rule{}, fault.Usagef("%q: %w: want HOST:PORT:ENDPOINT, such as registry.example.com:443:127.0.0.1:5000", value, err)
	}
	r := Rule{Host: parts[0], Port: parts[1], ToHost: parts[2]}
	if len(parts) == 4 {
		r.ToPort = parts[3]
	}
	for _, port := range []string{r.Port, r.ToPort} {
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			return Rule{}, fault.Usagef("%q: %q is no port: want a number from 1 to 65535", value, port)
		}
	}
	for _, host := range []string{r.Host, r.ToHost} {
		if strings.ContainsAny(host, "/@?# \t") {
			return Rule{}, fault.Usagef("%q: %q is no host: want a name or an address, without a protocol and a path", value, host)
		}
	}
	if r.ToHost == "" && r.ToPort == "" {
		return Rule{}, fault.Usagef("%q leads nowhere else: name the host or the port to connect to", value)
	}
	return r, nil
}

// To returns the network in which everything is at one endpoint, HOST:PORT.
func To(endpoint string) (Network, error) {
	r, err := ParseRule("::" + endpoint)
	return Network{Rules: []Rule{r}}, err
}

// split cuts a value at its colons, and takes the brackets of IPv6 addresses away.
func split(value string) ([]string, error) {
	var parts []string
	for {
		if strings.HasPrefix(value, "[") {
			address, rest, closed := strings.Cut(value[1:], "]")
			if ip, err := netip.ParseAddr(address); !closed || err != nil || !ip.Is6() {
				return nil, fmt.Errorf("what stands in brackets is no IPv6 address")
			}
			parts = append(parts, address)
			if rest == "" {
				return parts, nil
			}
			if value = strings.TrimPrefix(rest, ":"); value == rest {
				return nil, fmt.Errorf("a colon has to follow the bracket")
			}
			continue
		}
		part, rest, more := strings.Cut(value, ":")
		parts = append(parts, part)
		if !more {
			return parts, nil
		}
		value = rest
	}
}

// String is the rule as ParseRule reads it.
func (r Rule) String() string {
	return bracketed(r.Host) + ":" + r.Port + ":" + bracketed(r.ToHost) + ":" + r.ToPort
}

func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// lead returns the address that the rule leads to; fits is false where it is about another address.
func (r Rule) lead(host, port string) (address string, fits bool) {
	if r.Host != "" && !sameHost(r.Host, host) || r.Port != "" && r.Port != port {
		return "", false
	}
	if r.ToHost != "" {
		host = r.ToHost
	}
	if r.ToPort != "" {
		port = r.ToPort
	}
	return net.JoinHostPort(host, port), true
}

// sameHost compares names without regard to case, and addresses whichever way they are written.
func sameHost(a, b string) bool {
	x, err := netip.ParseAddr(a)
	y, otherErr := netip.ParseAddr(b)
	return strings.EqualFold(a, b) || err == nil && otherErr == nil && x == y
}

// lead returns the address to dial for an address, and the rule that says so, if there is one.
func (n Network) lead(address string) (to string, rule *Rule) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, nil
	}
	for i := range n.Rules {
		if to, fits := n.Rules[i].lead(host, port); fits {
			return to, &n.Rules[i]
		}
	}
	return address, nil
}

// Leads reports whether a rule leads connections for an address to another one.
func (n Network) Leads(address string) bool {
	_, rule := n.lead(address)
	return rule != nil
}

// Usual reports whether the network is the zero value.
func (n Network) Usual() bool { return len(n.Rules) == 0 && n.Dialer == nil }

// Error says that a connection which a rule led elsewhere failed there.
type Error struct {
	Asked string // the address that was wanted
	Rule  Rule
	Err   error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("--connect-to %s, for %s: %v", e.Rule, e.Asked, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Dial connects to an address. It is a Func.
func (n Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, rule := n.lead(address)
	dialer := n.Dialer
	if dialer == nil {
		// The times are those of http.DefaultTransport.
		dialer = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	conn, err := dialer(ctx, network, to)
	if err != nil && rule != nil {
		return nil, &Error{Asked: address, Rule: *rule, Err: err}
	}
	return conn, err
}

// Proxy returns a function for [http.Transport.Proxy]: no proxy where the network has its own way, else what next says.
func (n Network) Proxy(next func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(request *http.Request) (*url.URL, error) {
		port := request.URL.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[request.URL.Scheme]
		}
		if n.Dialer != nil || next == nil || n.Leads(net.JoinHostPort(request.URL.Hostname(), port)) {
			return nil, nil
		}
		return next(request)
	}
}

// Transport returns a copy of an HTTP transport that connects through the network.
func (n Network) Transport(base *http.Transport) *http.Transport {
	t := base.Clone()
	if !n.Usual() {
		t.DialContext, t.Proxy = n.Dial, n.Proxy(base.Proxy)
	}
	return t
}

// Client returns an HTTP client that connects through the network, with connections of its own.
func (n Network) Client() *http.Client {
	return &http.Client{Transport: n.Transport(http.DefaultTransport.(*http.Transport))}
}
