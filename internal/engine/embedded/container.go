package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/flight"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
)

// container is what a Container stands for: a file system and how commands run in it.
type container struct {
	platform    ocispecs.Platform
	root        tree
	config      dockerspec.DockerOCIImage
	defaultArgs bool // set by withDefaultArgs, not by an image
	mounts      []mount
	secretEnv   []secretEnv
	bindings    []binding
	ports       []port
	output      *tree    // what the last command left; nil before one ran
	terminal    api.Args // the arguments of withDefaultTerminalCmd
	// stored is the image in the engine's store that this container is, unchanged.
	stored *ocispecs.Descriptor
	// epoch is the time that the image says it was made at, in seconds since 1970; empty: the time when it is made. Files
	// keep their times: package canonical sets those, for every engine.
	epoch []byte
	// base is the configuration of the image that this one is built on. Its layers stay as they are.
	base []byte
}

// mount is a directory or file, a cache volume, a secret, a socket or memory in a container. Exactly one of source, cache,
// secret, socket and temp is set.
type mount struct {
	path     string
	source   *tree
	dir      string // the directory in source that is mounted
	readOnly bool
	cache    string // the volume's key
	sharing  llb.CacheMountSharingMode
	secret   string // as secretstore.Store knows it
	socket   string // as package sockets knows it
	temp     bool
	size     int // of temp, in bytes; 0 for no limit
	uid, gid int
	mode     int
}

type secretEnv struct{ name, secret string }

type binding struct {
	alias   string
	service *api.Node
}

type port struct {
	number int
	udp    bool
	skip   bool // not part of the health check
}

// clone returns a copy that can be changed without changing c.
func (c *container) clone() *container {
	d := *c
	d.config.Config.Env = slices.Clone(c.config.Config.Env)
	d.config.Config.Labels = maps.Clone(c.config.Config.Labels)
	d.config.Config.ExposedPorts = maps.Clone(c.config.Config.ExposedPorts)
	d.mounts = slices.Clone(c.mounts)
	d.secretEnv = slices.Clone(c.secretEnv)
	d.bindings = slices.Clone(c.bindings)
	d.ports = slices.Clone(c.ports)
	return &d
}

// steps are those that made anything in the container.
func (c *container) steps() []*step {
	all := slices.Clone(c.root.steps)
	for _, m := range c.mounts {
		if m.source != nil {
			all = append(all, m.source.steps...)
		}
	}
	return all
}

// memoized keeps what was worked out in a session. What names services' addresses is good only as long as those are.
func memoized[T any](b *build, n *api.Node, f func() (T, error)) (T, error) {
	return flight.Remember(&b.engine.memo, fmt.Sprintf("%d %s", b.engine.services.epoch.Load(), n.ID), f)
}

// container works out a Container.
func (b *build) container(ctx context.Context, n *api.Node) (*container, error) {
	return memoized(b, n, func() (*container, error) {
		switch n.Field {
		case "container":
			return b.emptyContainer(n)
		case "dockerBuild":
			return b.dockerBuild(ctx, n)
		}
		parent, err := b.container(ctx, n.Parent)
		if err != nil {
			return nil, err
		}
		if n.Field == "terminal" {
			return parent, b.engine.attach(ctx, n, parent)
		}
		change := containerChanges[n.Field]
		if change == nil {
			return nil, fmt.Errorf("field Container.%s stands in the schema and is not implemented", n.Field)
		}
		c := parent.clone()
		given, err := c.expand(n.Args)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Field, err)
		}
		if err := change(ctx, b, c, given); err != nil {
			return nil, err
		}
		if !keepsImage[n.Field] {
			c.stored = nil
		}
		return c, nil
	})
}

func (b *build) emptyContainer(n *api.Node) (*container, error) {
	p, err := b.platformArg(n.Args)
	if err != nil {
		return nil, err
	}
	c := &container{platform: p, root: tree{state: llb.Scratch(), identity: "scratch"}}
	c.config.Architecture, c.config.OS, c.config.Variant = p.Architecture, p.OS, p.Variant
	return c, nil
}

func (b *build) platformArg(a api.Args) (ocispecs.Platform, error) {
	if s := a.Str("platform"); s != "" {
		p, err := platforms.Parse(s)
		return platforms.Normalize(p), err
	}
	return b.platform(), nil
}

// keepsImage are the changes that do not change the image which the container would be exported as.
var keepsImage = map[string]bool{
	"import": true, "withServiceBinding": true, "withSecretVariable": true,
	"withMountedDirectory": true, "withMountedCache": true, "withMountedSecret": true, "withMountedFile": true,
	"withMountedTemp": true, "withoutMount": true, "withUnixSocket": true, "withoutUnixSocket": true,
	"withRegistryAuth": true, "withoutRegistryAuth": true, "withDefaultTerminalCmd": true,
}

// containerChanges are the fields that make a container from another.
var containerChanges map[string]func(context.Context, *build, *container, api.Args) error

func init() { // not an initializer: it would refer to itself
	containerChanges = map[string]func(context.Context, *build, *container, api.Args) error{
		"from":                   from,
		"import":                 importImage,
		"withExec":               withExec,
		"withDirectory":          withDirectory,
		"withFile":               withFile,
		"withNewFile":            withNewFile,
		"withMountedDirectory":   withMountedDirectory,
		"withMountedCache":       withMountedCache,
		"withMountedSecret":      withMountedSecret,
		"withSecretVariable":     withSecretVariable,
		"withMountedFile":        withMountedFile,
		"withMountedTemp":        withMountedTemp,
		"withUnixSocket":         withUnixSocket,
		"withoutMount":           withoutMount,
		"withoutUnixSocket":      withoutMount,
		"withRootfs":             withRootfs,
		"withFiles":              withFiles,
		"withoutFile":            withoutPaths,
		"withoutFiles":           withoutPaths,
		"withoutDirectory":       withoutPaths,
		"withRegistryAuth":       withRegistryAuth,
		"withoutRegistryAuth":    withoutRegistryAuth,
		"withDefaultTerminalCmd": setting(func(c *container, a api.Args) { c.terminal = a }),
		"withServiceBinding":     withServiceBinding,
		"withExposedPort":        withExposedPort,
		"withEnvVariable":        setting(func(c *container, a api.Args) { c.setEnv(a.Str("name"), a.Str("value")) }),
		"withoutEnvVariable":     setting(func(c *container, a api.Args) { c.unsetEnv(a.Str("name")) }),
		"withUser":               setting(func(c *container, a api.Args) { c.config.Config.User = a.Str("name") }),
		"withWorkdir":            setting(func(c *container, a api.Args) { c.config.Config.WorkingDir = c.abs(a.Str("path")) }),
		"withLabel": setting(func(c *container, a api.Args) {
			if c.config.Config.Labels == nil {
				c.config.Config.Labels = map[string]string{}
			}
			c.config.Config.Labels[a.Str("name")] = a.Str("value")
		}),
		"withEntrypoint": setting(func(c *container, a api.Args) {
			c.config.Config.Entrypoint = a.List("args")
			if !a.Flag("keepDefaultArgs") {
				c.config.Config.Cmd = nil
			}
		}),
		"withoutEntrypoint": setting(func(c *container, a api.Args) {
			c.config.Config.Entrypoint = nil
			if !a.Flag("keepDefaultArgs") {
				c.config.Config.Cmd = nil
			}
		}),
		"withoutDefaultArgs": setting(func(c *container, _ api.Args) { c.config.Config.Cmd = nil }),
		"withoutUser":        setting(func(c *container, _ api.Args) { c.config.Config.User = "" }),
		"withoutWorkdir":     setting(func(c *container, _ api.Args) { c.config.Config.WorkingDir = "" }),
		"withoutLabel":       setting(func(c *container, a api.Args) { delete(c.config.Config.Labels, a.Str("name")) }),
		"withoutExposedPort": setting(withoutExposedPort),
		"withDefaultArgs": setting(func(c *container, a api.Args) {
			c.config.Config.Cmd = a.List("args")
			c.defaultArgs = true
		}),
	}
}

// setting is a change of the configuration alone.
func setting(set func(*container, api.Args)) func(context.Context, *build, *container, api.Args) error {
	return func(_ context.Context, _ *build, c *container, a api.Args) error {
		set(c, a)
		return nil
	}
}

func (c *container) setEnv(name, value string) {
	for i, v := range c.config.Config.Env {
		if k, _, _ := strings.Cut(v, "="); k == name {
			c.config.Config.Env[i] = name + "=" + value
			return
		}
	}
	c.config.Config.Env = append(c.config.Config.Env, name+"="+value)
}

func (c *container) unsetEnv(name string) {
	c.config.Config.Env = slices.DeleteFunc(c.config.Config.Env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
}

// expand returns arguments with $NAME and ${NAME} replaced by the container's variables, if the arguments ask for that.
func (c *container) expand(a api.Args) (api.Args, error) {
	if !a.Flag("expand") {
		return a, nil
	}
	var err error
	text := func(s string) string {
		return os.Expand(s, func(name string) string {
			if slices.ContainsFunc(c.secretEnv, func(s secretEnv) bool { return s.name == name }) {
				err = fmt.Errorf("expand cannot be used with secret env variable %q", name)
			}
			return c.variable(name)
		})
	}
	expanded := maps.Clone(a)
	for _, name := range []string{"path", "value", "redirectStdin", "redirectStdout", "redirectStderr"} {
		if s, ok := a[name].(string); ok {
			expanded[name] = text(s)
		}
	}
	for _, name := range []string{"args", "paths"} {
		if a[name] == nil {
			continue
		}
		all := []any{}
		for _, s := range a.List(name) {
			all = append(all, text(s))
		}
		expanded[name] = all
	}
	return expanded, err
}

// variable returns a variable of the container's configuration, "" if it is not set.
func (c *container) variable(name string) string {
	for _, v := range c.config.Config.Env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// abs is a path in the container, seen from its working directory.
func (c *container) abs(p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join("/", c.config.Config.WorkingDir, p)
}

// from takes an image from a registry. A tag is looked up once a session.
func from(ctx context.Context, b *build, c *container, a api.Args) error {
	address := a.Str("address")
	named, err := reference.ParseNormalizedNamed(address)
	if err != nil {
		return fmt.Errorf("image %q: %w", address, err)
	}
	ref := reference.TagNameOnly(named).String()
	digest, config, err := b.resolve(ctx, ref, c.platform)
	if err != nil {
		return fmt.Errorf("image %s: %w", address, err)
	}
	canonical, err := reference.WithDigest(reference.TrimNamed(named), digest)
	if err != nil {
		return fmt.Errorf("image %q: %w", address, err)
	}
	return c.setImage(config, tree{
		state:    llb.Image(canonical.String(), llb.Platform(c.platform), llb.WithCustomName("from "+address)),
		identity: digest.String(),
	})
}

// setImage makes an image the container's own. Environment variables that were set before stay.
func (c *container) setImage(config []byte, root tree) error {
	before := c.config.Config.Env
	c.config = dockerspec.DockerOCIImage{}
	if err := json.Unmarshal(config, &c.config); err != nil {
		return fmt.Errorf("image configuration: %w", err)
	}
	for _, v := range before {
		name, value, _ := strings.Cut(v, "=")
		c.setEnv(name, value)
	}
	c.root = root
	c.ports = nil
	return nil
}

// resolve looks up an image.
func (b *build) resolve(ctx context.Context, ref string, p ocispecs.Platform) (digest.Digest, []byte, error) {
	type image struct {
		digest digest.Digest
		config []byte
	}
	key := ref + " " + platforms.Format(p)
	if known, ok := b.engine.resolved.Load(key); ok {
		i := known.(image)
		return i.digest, i.config, nil
	}
	_, digest, config, err := b.gateway.ResolveImageConfig(ctx, ref, sourceresolver.Opt{
		LogName:  progress.InternalPrefix + "resolve image " + ref,
		ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &p},
	})
	if err != nil {
		return "", nil, err
	}
	b.engine.resolved.Store(key, image{digest, config})
	return digest, config, nil
}

// importImage takes an image from an OCI image layout in a tar archive.
func importImage(ctx context.Context, b *build, c *container, a api.Args) error {
	source := b.engine.api.Must(a.Str("source"))
	desc, err := b.engine.imported(ctx, source)
	if err != nil {
		return err
	}
	image, config, err := b.engine.store.Image(ctx, desc, c.platform)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if err := c.setImage(config, tree{
		state: llb.OCILayout("aksflow/import@"+image.Digest.String(), llb.OCIStore(b.engine.session.ID(), storeID),
			llb.Platform(c.platform), llb.WithCustomName("import "+image.Digest.String())),
		identity: image.Digest.String(),
	}); err != nil {
		return err
	}
	c.stored = &image
	return nil
}

// place is where a path of the container is: in its root file system or in a mounted directory.
func (c *container) place(p string) (t *tree, inside string, err error) {
	p = c.abs(p)
	for i := range slices.Backward(c.mounts) { // the last one covers those before it
		m := &c.mounts[i]
		rel, ok := below(p, m.path)
		switch {
		case !ok:
		case m.source != nil:
			return m.source, path.Join("/", m.dir, rel), nil
		case m.secret != "":
			return nil, "", fmt.Errorf("%s is a secret", p)
		case m.socket != "":
			return nil, "", fmt.Errorf("%s is a socket", p)
		default:
			return nil, "", fmt.Errorf("%s is in a cache volume or in memory, which only commands see", p)
		}
	}
	return &c.root, p, nil
}

// below returns a path relative to a directory that it is in or is.
func below(p, dir string) (string, bool) {
	if p == dir || dir == "/" {
		return strings.TrimPrefix(p, dir), true
	}
	return strings.CutPrefix(p, dir+"/")
}

// change replaces what is at a path: f gets the file system that the path is in, and the path inside of it.
func (c *container) change(p string, f func(t tree, inside string) tree) error {
	t, inside, err := c.place(p)
	if err != nil {
		return err
	}
	changed := f(*t, inside)
	if t == &c.root {
		c.root = changed
		return nil
	}
	for i := range c.mounts {
		if c.mounts[i].source == t {
			c.mounts[i].source = &changed // not *t: other containers share it
		}
	}
	return nil
}

func withDirectory(ctx context.Context, b *build, c *container, a api.Args) error {
	source, err := b.directory(ctx, b.engine.api.Must(a.Str("source")))
	if err != nil {
		return err
	}
	if a, err = b.numericOwner(ctx, c, a); err != nil {
		return err
	}
	return c.change(a.Str("path"), func(t tree, inside string) tree { return t.withDirectory(inside, source, a) })
}

func withFile(ctx context.Context, b *build, c *container, a api.Args) error {
	source, err := b.placed(ctx, b.engine.api.Must(a.Str("source")))
	if err != nil {
		return err
	}
	if a, err = b.numericOwner(ctx, c, a); err != nil {
		return err
	}
	return c.change(a.Str("path"), func(t tree, inside string) tree { return t.withFile(inside, source, a) })
}

func withNewFile(ctx context.Context, b *build, c *container, a api.Args) error {
	a, err := b.numericOwner(ctx, c, a)
	if err != nil {
		return err
	}
	return c.change(a.Str("path"), func(t tree, inside string) tree { return t.withNewFile(inside, a) })
}

func withServiceBinding(_ context.Context, b *build, c *container, a api.Args) error {
	alias := a.Str("alias")
	c.bindings = slices.DeleteFunc(c.bindings, func(b binding) bool { return b.alias == alias })
	service := b.engine.api.Must(a.Str("service"))
	b.engine.services.name(service, alias)
	c.bindings = append(c.bindings, binding{alias, service})
	return nil
}

func withExposedPort(_ context.Context, _ *build, c *container, a api.Args) error {
	number, _ := a.Num("port")
	p := port{number: number, udp: a.Str("protocol") == "UDP", skip: a.Flag("experimentalSkipHealthcheck")}
	c.ports = append(slices.DeleteFunc(c.ports, func(o port) bool { return o.number == p.number && o.udp == p.udp }), p)
	if c.config.Config.ExposedPorts == nil {
		c.config.Config.ExposedPorts = map[string]struct{}{}
	}
	c.config.Config.ExposedPorts[exposed(a)] = struct{}{}
	return nil
}

func withoutExposedPort(c *container, a api.Args) {
	number, _ := a.Num("port")
	c.ports = slices.DeleteFunc(c.ports, func(p port) bool { return p.number == number && p.udp == (a.Str("protocol") == "UDP") })
	delete(c.config.Config.ExposedPorts, exposed(a))
}

// exposed is what an image's configuration calls a port: 8080/tcp.
func exposed(a api.Args) string {
	number, _ := a.Num("port")
	return fmt.Sprintf("%d/%s", number, strings.ToLower(a.Str("protocol")))
}

// allPorts are the ports that were exposed, then those that the image exposes.
func (c *container) allPorts() []port {
	all := slices.Clone(c.ports)
	for _, exposed := range slices.Sorted(maps.Keys(c.config.Config.ExposedPorts)) {
		number, protocol, _ := strings.Cut(exposed, "/")
		n, err := strconv.Atoi(number)
		p := port{number: n, udp: protocol == "udp"}
		if err == nil && !slices.ContainsFunc(all, func(o port) bool { return o.number == p.number && o.udp == p.udp }) {
			all = append(all, p)
		}
	}
	return all
}
