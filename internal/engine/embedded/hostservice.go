package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strconv"

	"github.com/moby/buildkit/client/llb"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// served returns the container that a service runs in, and its command.
func (b *build) served(ctx context.Context, n *api.Node) (*container, []string, error) {
	switch n.Parent.Type {
	case "Host":
		return b.hostService(n.Args)
	case "Address":
		return b.addressService(n.Parent.Args.Str("value"))
	}
	c, err := b.container(ctx, n.Parent)
	if err != nil {
		return nil, nil, err
	}
	cmd, err := c.serviceCommand(n.Args)
	if err == nil && n.Args.Flag(nested) {
		c, err = b.nested(c)
	}
	return c, cmd, err
}

// addressService is the service of an address such as tcp://localhost:5432.
func (b *build) addressService(value string) (*container, []string, error) {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "tcp" || u.Hostname() == "" {
		return nil, nil, fmt.Errorf("address %q: the embedded engine makes services of tcp://HOST:PORT only", value)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return nil, nil, fmt.Errorf("address %q: it has no port", value)
	}
	return b.hostService(api.Args{"host": u.Hostname(), "ports": []any{map[string]any{"backend": port, "protocol": "TCP"}}})
}

// hostService is a service whose ports are those of a host, as this process reaches it: a container in which the shim
// passes connections on to this process.
func (b *build) hostService(a api.Args) (*container, []string, error) {
	root := llb.Scratch().File(llb.Mkdir("/run", 0o755), llb.WithCustomName(progress.InternalPrefix+"host service"))
	c := &container{platform: b.platform(), root: tree{state: root, identity: "host service"}}
	c.config.Platform = c.platform
	cmd := []string{contract.Shim, "forward"}
	ports, _ := a["ports"].([]any)
	for _, p := range ports {
		forward := api.Args(p.(map[string]any))
		if forward.Str("protocol") == "UDP" {
			return nil, nil, errors.New("host service: the embedded engine forwards TCP only; for UDP run on a Dagger engine (--engine dagger)")
		}
		backend, _ := forward.Num("backend")
		frontend, _ := forward.Num("frontend")
		if frontend == 0 {
			frontend = backend
		}
		name := strconv.Itoa(frontend)
		c.ports = append(c.ports, port{number: frontend})
		c.mounts = append(c.mounts, mount{
			path:   path.Join(contract.Forward, name),
			socket: b.engine.sockets.AddTCP(net.JoinHostPort(a.Str("host"), strconv.Itoa(backend))),
			mode:   0o600,
		})
		cmd = append(cmd, name)
	}
	if len(c.ports) == 0 {
		return nil, nil, errors.New("no ports specified")
	}
	return c, cmd, nil
}
