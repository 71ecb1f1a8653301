package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
	"github.com/aksflow/aksflow/internal/engine/embedded/terminal"
)

var errNoCommand = errors.New("no command has been set")

// withExec runs a command under the shim.
func withExec(ctx context.Context, b *build, c *container, a api.Args) error {
	cmd := a.List("args")
	if len(cmd) == 0 {
		cmd = c.config.Config.Cmd
	}
	if a.Flag("useEntrypoint") {
		cmd = slices.Concat(c.config.Config.Entrypoint, cmd)
	}
	if len(cmd) == 0 {
		return errNoCommand
	}
	if a.Flag("insecureRootCapabilities") {
		if err := b.privilege(); err != nil {
			return err
		}
	}
	shim, err := b.shimCommand(ctx, c, a.Str("expect"))
	if err != nil {
		return err
	}
	streams, streamOpts, err := c.redirected(a)
	if err != nil {
		return err
	}
	shim = append(shim, streams...)
	seen := c // what the command sees
	if a.Flag(nested) {
		if seen, err = b.nested(c); err != nil {
			return err
		}
	}
	opts := []llb.RunOption{
		llb.Args(slices.Concat(shim, []string{"--"}, cmd)),
		llb.WithCustomName(progress.Command(cmd)), // without the shim
		llb.Platform(c.platform),
		llb.AddMount(contract.Shim, shimState(b.engine), llb.SourcePath(shimName), llb.Readonly),
		llb.Dir(c.abs(".")),
	}
	opts = append(opts, seen.environmentOptions()...)
	for _, h := range b.hosts(c.bindings) {
		opts = append(opts, llb.AddExtraHost(h.name, h.ip))
	}
	opts = slices.Concat(opts, seen.volumeOptions(), streamOpts)
	if a.Flag("insecureRootCapabilities") {
		opts = append(opts, llb.Security(llb.SecurityModeInsecure))
	}
	c.replaceBy(bare(c.root.state).Run(opts...))
	return nil
}

// nested is the argument that gives a container a session.
const nested = "experimentalPrivilegedNesting"

// nested returns a container with what the shim needs to give commands a session.
func (b *build) nested(c *container) (*container, error) {
	socket, token, err := b.engine.nesting.Open(b.engine.base)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nested, err)
	}
	c = c.clone()
	c.addMount(mount{path: contract.Session, socket: socket, mode: 0o666}) // for any user: the token is the key
	c.setSecretEnv(contract.SessionToken, token)
	return c, nil
}

// redirected returns how the shim is told where a command's standard streams go beside its output, and what that needs.
func (c *container) redirected(a api.Args) (flags []string, opts []llb.RunOption, err error) {
	input := a.Str("stdin")
	switch from := a.Str("redirectStdin"); {
	case input != "" && from != "":
		return nil, nil, errors.New("cannot set both stdin and redirectStdin")
	case input != "":
		const inside = "/stdin"
		file := llb.Scratch().File(llb.Mkfile(inside, 0o444, []byte(input)), llb.WithCustomName(progress.InternalPrefix+"standard input"))
		opts = append(opts, llb.AddMount(contract.Stdin, file, llb.SourcePath(inside), llb.Readonly))
		flags = append(flags, "-stdin", contract.Stdin)
	case from != "":
		flags = append(flags, "-stdin", c.abs(from))
	}
	if to := a.Str("redirectStdout"); to != "" {
		flags = append(flags, "-stdout", c.abs(to))
	}
	if to := a.Str("redirectStderr"); to != "" {
		flags = append(flags, "-stderr", c.abs(to))
	}
	return flags, opts, nil
}

// shimCommand returns the start of the command line: the shim, and what it has to know.
func (b *build) shimCommand(ctx context.Context, c *container, expect string) ([]string, error) {
	shim := []string{contract.Shim, "exec", "-out", contract.Out, "-expect", expect}
	key, err := b.hiddenKey(ctx, c)
	if err != nil {
		return nil, err
	}
	if key != "" {
		shim = append(shim, "-key", key)
	}
	if len(c.bindings) > 0 {
		shim = append(shim, "-services")
	}
	return shim, nil
}

// environmentOptions set the user and the variables of a command.
func (c *container) environmentOptions() []llb.RunOption {
	var opts []llb.RunOption
	if c.config.Config.User != "" {
		opts = append(opts, llb.User(c.config.Config.User))
	}
	for _, v := range c.env() {
		name, value, _ := strings.Cut(v, "=")
		opts = append(opts, llb.AddEnv(name, value))
	}
	for _, s := range c.secretEnv {
		opts = append(opts, llb.AddSecret(s.name, llb.SecretID(s.secret), llb.SecretAsEnv(true)))
	}
	return opts
}

// volumeOptions mount the secrets and the cache volumes, which no command's result contains.
func (c *container) volumeOptions() []llb.RunOption {
	var opts []llb.RunOption
	for _, m := range c.mounts {
		switch {
		case m.secret != "":
			opts = append(opts, llb.AddSecret(m.path, llb.SecretID(m.secret), llb.SecretFileOpt(m.uid, m.gid, m.mode)))
		case m.socket != "":
			opts = append(opts, llb.AddSSHSocket(llb.SSHID(m.socket), llb.SSHSocketTarget(m.path), llb.SSHSocketOpt(m.path, m.uid, m.gid, m.mode)))
		case m.temp:
			opts = append(opts, llb.AddMount(m.path, llb.Scratch(), llb.Tmpfs(llb.TmpfsSize(int64(m.size)))))
		case m.cache != "":
			state, volume := llb.Scratch(), []llb.MountOption{llb.AsPersistentCacheDir(cacheID(m.cache), m.sharing)}
			if m.uid != 0 || m.gid != 0 {
				state, volume = m.cacheState(), append(volume, llb.SourcePath(cacheDir))
			}
			opts = append(opts, llb.AddMount(m.path, state, volume...))
		}
	}
	return opts
}

// replaceBy makes what a command leaves behind the container's file system, mounts and output.
func (c *container) replaceBy(run llb.ExecState) {
	this := &step{before: c.steps()}
	for _, bound := range c.bindings {
		this.services = append(this.services, bound.service)
	}
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
}

// env are the variables that commands see, but for the secret ones, which go before.
func (c *container) env() []string {
	return slices.DeleteFunc(slices.Clone(c.config.Config.Env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.ContainsFunc(c.secretEnv, func(s secretEnv) bool { return s.name == name })
	})
}

// bare drops what a state says about later commands: the container's configuration says it.
func bare(s llb.State) llb.State { return llb.NewState(s.Output()) }

const outDir = "/out"

// outState holds an empty directory that any user may write to.
var outState = llb.Scratch().File(llb.Mkdir(outDir, 0o777), llb.WithCustomName(progress.InternalPrefix+"output"))

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
	return api.Hash(parts), nil
}

type hostEntry struct {
	name string
	ip   net.IP
}

// hosts are the entries for a container's services, and the mark by which the shim knows that all of them run.
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

// attach gives this process's terminal to a command in the container of a field `terminal`, once for each place in a
// program, and returns when the command has ended.
func (e *Engine) attach(ctx context.Context, n *api.Node, c *container) error {
	_, err := e.attached.Once(ctx, e.base, n.ID, func(ctx context.Context) (_ bool, err error) {
		if err := e.terminal.Check(); err != nil {
			return false, err
		}
		service := e.api.Child(n.Parent, "Service", "asService", terminal.ServiceArgs(n.Args, c.terminal))
		_, cmd, err := e.services.prepare(ctx, service)
		if err != nil {
			return false, err
		}
		_, err = e.job(ctx, nil, func(ctx context.Context, b *build) (*result, error) {
			ctr, start, err := b.serviceProcess(ctx, service, slices.Concat([]string{contract.Shim, "attend", "--"}, cmd))
			if err != nil {
				return nil, err
			}
			defer ctr.Release(context.WithoutCancel(ctx)) //nolint:errcheck // the job's end releases it too
			return nil, e.terminal.Attach(ctx, start, ctr.Start)
		})
		return true, err
	})
	return err
}
