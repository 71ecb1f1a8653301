package git

import (
	"context"
	"net"
	"net/url"

	"golang.org/x/net/proxy"

	"github.com/aksflow/aksflow/internal/core/dial"
)

// ruleScheme is the scheme of a "proxy" for go-git's SSH transport that is none: its URL holds the rules of a network. The
// transport has no other way to be told how to connect that leaves the host's name for known_hosts as it is.
const ruleScheme = "aksflow-connect-to"

func init() {
	proxy.RegisterDialerType(ruleScheme, func(u *url.URL, _ proxy.Dialer) (proxy.Dialer, error) {
		var n dial.Network
		for _, value := range u.Query()["rule"] {
			r, err := dial.ParseRule(value)
			if err != nil {
				return nil, err
			}
			n.Rules = append(n.Rules, r)
		}
		return sshDialer{n}, nil
	})
}

// sshProxy returns the URL of the proxy for SSH that applies a network's rules; "" when there are none.
func sshProxy(n dial.Network) string {
	if len(n.Rules) == 0 {
		return ""
	}
	query := url.Values{}
	for _, r := range n.Rules {
		query.Add("rule", r.String())
	}
	return (&url.URL{Scheme: ruleScheme, Host: "none", RawQuery: query.Encode()}).String()
}

// sshDialer is a [proxy.ContextDialer].
type sshDialer struct{ network dial.Network }

// Dial implements proxy.Dialer.
func (d sshDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext implements proxy.ContextDialer.
func (d sshDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.network.Leads(address) {
		return d.network.Dial(ctx, network, address)
	}
	return proxy.Dial(ctx, network, address) // as go-git does: honours ALL_PROXY
}
