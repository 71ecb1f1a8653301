package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aksflow/aksflow/internal/engine/shim/contract"
)

// tree is a file system that BuildKit makes on demand.
type tree struct {
	state llb.State
	// steps are the commands that ran to make it.
	steps []*step
	// identity is what the content is known by, where that is known beforehand: an image's digest.
	identity string
}

// step is a command that runs.
type step struct {
	// outputs are all file systems that it leaves: the container's, its mounts', its output. BuildKit remembers only
	// those that somebody asked for, and would run the step again for another. So they are asked for together.
	outputs []llb.State
	// solved says that they were, in this session.
	solved atomic.Bool
	// services are those that it talks to.
	services []*node
	// before are the steps that its inputs come from.
	before []*step
}

// walk visits the steps that made a tree, each once.
func (t tree) walk(visit func(*step)) {
	seen := map[*step]bool{}
	var walk func([]*step)
	walk = func(steps []*step) {
		for _, s := range steps {
			if !seen[s] {
				seen[s] = true
				walk(s.before)
				visit(s)
			}
		}
	}
	walk(t.steps)
}

// needs are the services that the steps talk to which make a tree.
func (t tree) needs() (services []*node) {
	t.walk(func(s *step) { services = append(services, s.services...) })
	return services
}

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
	output      *tree // what the last command left; nil before one ran
	// stored is the image in the engine's store that this container is, unchanged.
	stored *ocispecs.Descriptor
	// epoch is the time that the image says it was made at, from the build argument SOURCE_DATE_EPOCH; empty: when it
	// was made.
	epoch []byte
}

// mount is a directory, a cache volume or a secret in a container. Exactly one of source, cache and secret is set.
type mount struct {
	path     string
	source   *tree
	dir      string // the directory in source that is mounted
	readOnly bool
	cache    string // the volume's key
	sharing  llb.CacheMountSharingMode
	secret   string // as secretStore knows it
	uid, gid int
	mode     int
}

type secretEnv struct{ name, secret string }

type binding struct {
	alias   string
	service *node
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

// memo keeps what was worked out in a session. What names services' addresses is good only as long as those are.
type memo struct {
	mu     sync.Mutex
	values map[string]any
}

func memoized[T any](b *build, n *node, f func() (T, error)) (T, error) {
	m := &b.engine.memo
	key := fmt.Sprintf("%d %s", b.engine.services.epoch.Load(), n.id)
	m.mu.Lock()
	v, ok := m.values[key]
	m.mu.Unlock()
	if ok {
		return v.(T), nil
	}
	value, err := f()
	if err != nil {
		return value, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[string]any{}
	}
	m.values[key] = value
	return value, nil
}

// container works out a Container.
func (b *build) container(ctx context.Context, n *node) (*container, error) {
	return memoized(b, n, func() (*container, error) {
		switch n.field {
		case "container":
			return b.emptyContainer(n)
		case "dockerBuild":
			return b.dockerBuild(ctx, n)
		}
		parent, err := b.container(ctx, n.parent)
		if err != nil {
			return nil, err
		}
		change := containerChanges[n.field]
		if change == nil {
			return nil, fmt.Errorf("field Container.%s stands in the schema and is not implemented", n.field)
		}
		c := parent.clone()
		if err := change(ctx, b, c, n.args); err != nil {
			return nil, err
		}
		if !keepsImage[n.field] {
			c.stored = nil
		}
		return c, nil
	})
}

func (b *build) emptyContainer(n *node) (*container, error) {
	p, err := b.platformArg(n.args)
	if err != nil {
		return nil, err
	}
	c := &container{platform: p, root: tree{state: llb.Scratch(), identity: "scratch"}}
	c.config.Architecture, c.config.OS, c.config.Variant = p.Architecture, p.OS, p.Variant
	return c, nil
}

func (b *build) platformArg(a args) (ocispecs.Platform, error) {
	if s := a.str("platform"); s != "" {
		p, err := platforms.Parse(s)
		return platforms.Normalize(p), err
	}
	return b.platform(), nil
}

// keepsImage are the changes that do not change the image which the container would be exported as.
var keepsImage = map[string]bool{
	"import": true, "withServiceBinding": true, "withSecretVariable": true,
	"withMountedDirectory": true, "withMountedCache": true, "withMountedSecret": true,
}

// containerChanges are the fields that make a container from another.
var containerChanges map[string]func(context.Context, *build, *container, args) error

func init() { // not an initializer: it would refer to itself
	containerChanges = map[string]func(context.Context, *build, *container, args) error{
		"from":                 from,
		"import":               importImage,
		"withExec":             withExec,
		"withDirectory":        withDirectory,
		"withFile":             withFile,
		"withNewFile":          withNewFile,
		"withMountedDirectory": withMountedDirectory,
		"withMountedCache":     withMountedCache,
		"withMountedSecret":    withMountedSecret,
		"withSecretVariable":   withSecretVariable,
		"withServiceBinding":   withServiceBinding,
		"withExposedPort":      withExposedPort,
		"withEnvVariable":      setting(func(c *container, a args) { c.setEnv(a.str("name"), a.str("value")) }),
		"withoutEnvVariable":   setting(func(c *container, a args) { c.unsetEnv(a.str("name")) }),
		"withUser":             setting(func(c *container, a args) { c.config.Config.User = a.str("name") }),
		"withWorkdir":          setting(func(c *container, a args) { c.config.Config.WorkingDir = c.abs(a.str("path")) }),
		"withLabel": setting(func(c *container, a args) {
			if c.config.Config.Labels == nil {
				c.config.Config.Labels = map[string]string{}
			}
			c.config.Config.Labels[a.str("name")] = a.str("value")
		}),
		"withEntrypoint": setting(func(c *container, a args) {
			c.config.Config.Entrypoint = a.list("args")
			if !a.flag("keepDefaultArgs") {
				c.config.Config.Cmd = nil
			}
		}),
		"withDefaultArgs": setting(func(c *container, a args) {
			c.config.Config.Cmd = a.list("args")
			c.defaultArgs = true
		}),
	}
}

// setting is a change of the configuration alone.
func setting(set func(*container, args)) func(context.Context, *build, *container, args) error {
	return func(_ context.Context, _ *build, c *container, a args) error {
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

// abs is a path in the container, seen from its working directory.
func (c *container) abs(p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join("/", c.config.Config.WorkingDir, p)
}

// from takes an image from a registry. A tag is looked up once a session.
func from(ctx context.Context, b *build, c *container, a args) error {
	address := a.str("address")
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
		LogName:  internalPrefix + "resolve image " + ref,
		ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &p},
	})
	if err != nil {
		return "", nil, err
	}
	b.engine.resolved.Store(key, image{digest, config})
	return digest, config, nil
}

// importImage takes an image from an OCI image layout in a tar archive.
func importImage(ctx context.Context, b *build, c *container, a args) error {
	source := b.engine.must(a.str("source"))
	desc, err := b.engine.imported(ctx, source)
	if err != nil {
		return err
	}
	image, config, err := b.engine.store.image(ctx, desc, c.platform)
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
		default:
			return nil, "", fmt.Errorf("%s is in a cache volume, which only commands see", p)
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

func withDirectory(ctx context.Context, b *build, c *container, a args) error {
	source, err := b.directory(ctx, b.engine.must(a.str("source")))
	if err != nil {
		return err
	}
	if a, err = b.numericOwner(ctx, c, a); err != nil {
		return err
	}
	return c.change(a.str("path"), func(t tree, inside string) tree { return t.withDirectory(inside, source, a) })
}

func withFile(ctx context.Context, b *build, c *container, a args) error {
	source, err := b.file(ctx, b.engine.must(a.str("source")))
	if err != nil {
		return err
	}
	if source.tree == nil {
		return errors.New("withFile: the embedded engine cannot put an image tarball into a container")
	}
	if a, err = b.numericOwner(ctx, c, a); err != nil {
		return err
	}
	return c.change(a.str("path"), func(t tree, inside string) tree { return t.withFile(inside, source, a) })
}

func withNewFile(ctx context.Context, b *build, c *container, a args) error {
	a, err := b.numericOwner(ctx, c, a)
	if err != nil {
		return err
	}
	return c.change(a.str("path"), func(t tree, inside string) tree { return t.withNewFile(inside, a) })
}

func withMountedDirectory(ctx context.Context, b *build, c *container, a args) error {
	d, err := b.directory(ctx, b.engine.must(a.str("source")))
	if err != nil {
		return err
	}
	if a.str("owner") != "" {
		if a, err = b.numericOwner(ctx, c, a); err != nil {
			return err
		}
		// In a directory of its own, because that is the owner's too.
		const inside = "/owned"
		mkdir := llb.Mkdir(inside, 0o755, llb.WithUser(a.str("owner")))
		empty := tree{state: llb.Scratch().File(mkdir, llb.WithCustomName(internalPrefix+"make "+inside))}
		d = &directory{tree: empty.withDirectory(inside, d, args{"owner": a.str("owner")}), path: inside}
	}
	c.addMount(mount{path: c.abs(a.str("path")), source: &d.tree, dir: d.path, readOnly: a.flag("readOnly")})
	return nil
}

// addMount adds a mount in place of those that it covers.
func (c *container) addMount(m mount) {
	c.mounts = slices.DeleteFunc(c.mounts, func(old mount) bool { _, covered := below(old.path, m.path); return covered })
	c.mounts = append(c.mounts, m)
}

func withMountedCache(_ context.Context, b *build, c *container, a args) error {
	sharing := map[string]llb.CacheMountSharingMode{
		"SHARED": llb.CacheMountShared, "PRIVATE": llb.CacheMountPrivate, "LOCKED": llb.CacheMountLocked,
	}
	volume := b.engine.must(a.str("cache"))
	c.addMount(mount{path: c.abs(a.str("path")), cache: volume.args.str("key"), sharing: sharing[a.str("sharing")]})
	return nil
}

func withMountedSecret(ctx context.Context, b *build, c *container, a args) error {
	secret, err := b.engine.secret(b.engine.must(a.str("source")))
	if err != nil {
		return err
	}
	mode, _ := a.num("mode")
	m := mount{path: c.abs(a.str("path")), secret: secret, mode: mode}
	if owner := a.str("owner"); owner != "" {
		if m.uid, m.gid, err = b.owner(ctx, c, owner); err != nil {
			return err
		}
	}
	c.addMount(m)
	return nil
}

// numericOwner returns the arguments with the owner in numbers: what is copied to may have no names.
func (b *build) numericOwner(ctx context.Context, c *container, a args) (args, error) {
	owner := a.str("owner")
	if owner == "" {
		return a, nil
	}
	uid, gid, err := b.owner(ctx, c, owner)
	if err != nil {
		return nil, err
	}
	a = maps.Clone(a)
	a["owner"] = fmt.Sprintf("%d:%d", uid, gid)
	return a, nil
}

// owner looks up USER[:GROUP], each a number or a name from the container's own files.
func (b *build) owner(ctx context.Context, c *container, owner string) (uid, gid int, err error) {
	user, group, hasGroup := strings.Cut(owner, ":")
	if uid, err = strconv.Atoi(user); err != nil {
		entry, err := b.lookup(ctx, c, "/etc/passwd", user)
		if err != nil {
			return 0, 0, err
		}
		if uid, err = strconv.Atoi(entry[2]); err != nil {
			return 0, 0, fmt.Errorf("/etc/passwd: user %s: %w", user, err)
		}
		if gid, err = strconv.Atoi(entry[3]); err != nil {
			return 0, 0, fmt.Errorf("/etc/passwd: user %s: %w", user, err)
		}
	} else {
		gid = uid
	}
	if !hasGroup {
		return uid, gid, nil
	}
	if gid, err = strconv.Atoi(group); err == nil {
		return uid, gid, nil
	}
	entry, err := b.lookup(ctx, c, "/etc/group", group)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(entry[2])
	return uid, gid, err
}

// lookup returns the fields of a name in one of the files that passwd(5) and group(5) describe.
func (b *build) lookup(ctx context.Context, c *container, file, name string) ([]string, error) {
	text, err := b.read(ctx, c.root, c.platform, file)
	if err != nil {
		return nil, fmt.Errorf("owner %s: %w", name, err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) >= 4 && f[0] == name {
			return f, nil
		}
	}
	return nil, fmt.Errorf("owner %s: %s does not have it", name, file)
}

func withSecretVariable(_ context.Context, b *build, c *container, a args) error {
	secret, err := b.engine.secret(b.engine.must(a.str("secret")))
	if err != nil {
		return err
	}
	name := a.str("name")
	c.unsetEnv(name)
	c.secretEnv = slices.DeleteFunc(c.secretEnv, func(s secretEnv) bool { return s.name == name })
	c.secretEnv = append(c.secretEnv, secretEnv{name, secret})
	return nil
}

func withServiceBinding(_ context.Context, b *build, c *container, a args) error {
	alias := a.str("alias")
	c.bindings = slices.DeleteFunc(c.bindings, func(b binding) bool { return b.alias == alias })
	c.bindings = append(c.bindings, binding{alias, b.engine.must(a.str("service"))})
	return nil
}

func withExposedPort(_ context.Context, _ *build, c *container, a args) error {
	number, _ := a.num("port")
	p := port{number: number, udp: a.str("protocol") == "UDP", skip: a.flag("experimentalSkipHealthcheck")}
	c.ports = append(slices.DeleteFunc(c.ports, func(o port) bool { return o.number == p.number && o.udp == p.udp }), p)
	if c.config.Config.ExposedPorts == nil {
		c.config.Config.ExposedPorts = map[string]struct{}{}
	}
	protocol := "tcp"
	if p.udp {
		protocol = "udp"
	}
	c.config.Config.ExposedPorts[fmt.Sprintf("%d/%s", number, protocol)] = struct{}{}
	return nil
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

var errNoCommand = errors.New("no command has been set")

// withExec runs a command under the shim.
func withExec(ctx context.Context, b *build, c *container, a args) error {
	cmd := a.list("args")
	if len(cmd) == 0 {
		cmd = c.config.Config.Cmd
	}
	if a.flag("useEntrypoint") {
		cmd = slices.Concat(c.config.Config.Entrypoint, cmd)
	}
	if len(cmd) == 0 {
		return errNoCommand
	}

	shim := []string{contract.Shim, "exec", "-out", contract.Out, "-expect", a.str("expect")}
	key, err := b.hiddenKey(ctx, c)
	if err != nil {
		return err
	}
	if key != "" {
		shim = append(shim, "-key", key)
	}
	if len(c.bindings) > 0 {
		shim = append(shim, "-services")
	}
	opts := []llb.RunOption{
		llb.Args(slices.Concat(shim, []string{"--"}, cmd)),
		llb.WithCustomName(strings.Join(cmd, " ")), // as the reader knows it, without the shim
		llb.Platform(c.platform),
		llb.AddMount(contract.Shim, shimState(b.engine), llb.SourcePath(shimName), llb.Readonly),
		llb.Dir(c.abs(".")),
	}
	if c.config.Config.User != "" {
		opts = append(opts, llb.User(c.config.Config.User))
	}
	for _, v := range c.config.Config.Env {
		name, value, _ := strings.Cut(v, "=")
		opts = append(opts, llb.AddEnv(name, value))
	}
	for _, s := range c.secretEnv {
		opts = append(opts, llb.AddSecret(s.name, llb.SecretID(s.secret), llb.SecretAsEnv(true)))
	}
	this := &step{before: c.steps()}
	for _, bound := range c.bindings {
		this.services = append(this.services, bound.service)
	}
	for _, h := range b.hosts(c.bindings) {
		opts = append(opts, llb.AddExtraHost(h.name, h.ip))
	}
	for _, m := range c.mounts {
		switch {
		case m.secret != "":
			opts = append(opts, llb.AddSecret(m.path, llb.SecretID(m.secret), llb.SecretFileOpt(m.uid, m.gid, m.mode)))
		case m.cache != "":
			opts = append(opts, llb.AddMount(m.path, llb.Scratch(), llb.AsPersistentCacheDir(cacheID(m.cache), m.sharing)))
		}
	}
	run := bare(c.root.state).Run(opts...)
	leaves := func(s llb.State) tree {
		s = bare(s)
		this.outputs = append(this.outputs, s)
		return tree{state: s, steps: []*step{this}}
	}
	for i, m := range c.mounts {
		if m.source == nil {
			continue
		}
		mountOpts := []llb.MountOption{llb.SourcePath(m.dir)}
		if m.readOnly {
			mountOpts = append(mountOpts, llb.Readonly)
		}
		after := run.AddMount(m.path, m.source.state, mountOpts...)
		if !m.readOnly {
			changed := leaves(after)
			c.mounts[i].source = &changed
		}
	}
	output := leaves(run.AddMount(contract.Out, outState, llb.SourcePath(outDir)))
	c.output = &output
	c.root = leaves(run.Root())
	return nil
}

// bare drops what a state says about later commands: the container's configuration says it.
func bare(s llb.State) llb.State { return llb.NewState(s.Output()) }

const outDir = "/out"

// outState holds an empty directory that any user may write to.
var outState = llb.Scratch().File(llb.Mkdir(outDir, 0o777), llb.WithCustomName(internalPrefix+"output"))

// cacheID keeps the volumes of the API apart from those that Dockerfiles name.
func cacheID(key string) string { return "volume/" + key }

// hiddenKey stands for what a command sees and BuildKit leaves out of its cache key: the services that it talks to, and
// the names of its cache volumes.
func (b *build) hiddenKey(ctx context.Context, c *container) (string, error) {
	var parts []string
	for _, bound := range c.bindings {
		content, err := b.engine.services.content(ctx, bound.service)
		if err != nil {
			return "", err
		}
		parts = append(parts, "service", bound.alias, content)
	}
	for _, m := range c.mounts {
		if m.cache != "" {
			parts = append(parts, "cache", m.path, m.cache)
		}
	}
	if parts == nil {
		return "", nil
	}
	return hash(parts), nil
}

// hash is a short name for a value.
func hash(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

type hostEntry struct {
	name string
	ip   net.IP
}

// hosts are the entries for a container's services, and for the shim the mark that says whether all of them run.
func (b *build) hosts(bindings []binding) []hostEntry {
	if len(bindings) == 0 {
		return nil
	}
	var entries []hostEntry
	mark := net.IPv4(127, 0, 0, 1)
	for _, bound := range bindings {
		ip, runs := b.host(bound.service)
		if !runs {
			mark = ip
		}
		entries = append(entries, hostEntry{bound.alias, ip})
		if name := hostname(bound.service); !slices.ContainsFunc(entries, func(e hostEntry) bool { return e.name == name }) {
			entries = append(entries, hostEntry{name, ip})
		}
	}
	return append(entries, hostEntry{contract.ServicesHost, mark})
}
