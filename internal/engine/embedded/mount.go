package embedded

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client/llb"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
)

func withMountedDirectory(ctx context.Context, b *build, c *container, a api.Args) error {
	d, err := b.directory(ctx, b.engine.api.Must(a.Str("source")))
	if err != nil {
		return err
	}
	if a.Str("owner") != "" {
		if a, err = b.numericOwner(ctx, c, a); err != nil {
			return err
		}
		// In a directory of its own, because that is the owner's too.
		const inside = "/owned"
		mkdir := llb.Mkdir(inside, 0o755, llb.WithUser(a.Str("owner")))
		empty := tree{state: llb.Scratch().File(mkdir, llb.WithCustomName(progress.InternalPrefix+"make "+inside))}
		d = &directory{tree: empty.withDirectory(inside, d, api.Args{"owner": a.Str("owner")}), path: inside}
	}
	c.addMount(mount{path: c.abs(a.Str("path")), source: &d.tree, dir: d.path, readOnly: a.Flag("readOnly")})
	return nil
}

// withMountedFile mounts a copy of the file, in a directory of its own: commands depend on nothing that is beside it.
func withMountedFile(ctx context.Context, b *build, c *container, a api.Args) error {
	source, err := b.placed(ctx, b.engine.api.Must(a.Str("source")))
	if err != nil {
		return err
	}
	if a, err = b.numericOwner(ctx, c, a); err != nil {
		return err
	}
	const inside = "/mounted"
	copied := tree{state: llb.Scratch()}.withFile(inside, source, api.Args{"owner": a.Str("owner")})
	c.addMount(mount{path: c.abs(a.Str("path")), source: &copied, dir: inside})
	return nil
}

func withMountedTemp(_ context.Context, _ *build, c *container, a api.Args) error {
	size, _ := a.Num("size")
	c.addMount(mount{path: c.abs(a.Str("path")), temp: true, size: size})
	return nil
}

func withUnixSocket(ctx context.Context, b *build, c *container, a api.Args) error {
	m := mount{path: c.abs(a.Str("path")), mode: 0o600}
	m.socket = b.engine.sockets.Add(b.engine.api.Must(a.Str("source")).Args.Str("path"))
	if owner := a.Str("owner"); owner != "" {
		var err error
		if m.uid, m.gid, err = b.owner(ctx, c, owner); err != nil {
			return err
		}
	}
	c.addMount(m)
	return nil
}

func withoutMount(_ context.Context, _ *build, c *container, a api.Args) error {
	p := c.abs(a.Str("path"))
	c.mounts = slices.DeleteFunc(c.mounts, func(m mount) bool { return m.path == p })
	return nil
}

// addMount adds a mount in place of those that it covers.
func (c *container) addMount(m mount) {
	c.mounts = slices.DeleteFunc(c.mounts, func(old mount) bool { _, covered := below(old.path, m.path); return covered })
	c.mounts = append(c.mounts, m)
}

func withMountedCache(ctx context.Context, b *build, c *container, a api.Args) error {
	sharing := map[string]llb.CacheMountSharingMode{
		"SHARED": llb.CacheMountShared, "PRIVATE": llb.CacheMountPrivate, "LOCKED": llb.CacheMountLocked,
	}
	volume := b.engine.api.Must(a.Str("cache"))
	m := mount{path: c.abs(a.Str("path")), cache: volume.Args.Str("key"), sharing: sharing[a.Str("sharing")]}
	if owner := a.Str("owner"); owner != "" {
		var err error
		if m.uid, m.gid, err = b.owner(ctx, c, owner); err != nil {
			return err
		}
	}
	c.addMount(m)
	return nil
}

// cacheDir is where a volume's content is in the state that cacheState returns.
const cacheDir = "/cache"

// cacheState is what a cache volume is at first: an empty directory of the mount's owner.
func (m mount) cacheState() llb.State {
	mkdir := llb.Mkdir(cacheDir, 0o755, llb.WithUIDGID(m.uid, m.gid))
	return llb.Scratch().File(mkdir, llb.WithCustomName(progress.InternalPrefix+"volume"))
}

func withMountedSecret(ctx context.Context, b *build, c *container, a api.Args) error {
	secret, err := b.engine.secret(b.engine.api.Must(a.Str("source")))
	if err != nil {
		return err
	}
	mode, _ := a.Num("mode")
	m := mount{path: c.abs(a.Str("path")), secret: secret, mode: mode}
	if owner := a.Str("owner"); owner != "" {
		if m.uid, m.gid, err = b.owner(ctx, c, owner); err != nil {
			return err
		}
	}
	c.addMount(m)
	return nil
}

// numericOwner returns the arguments with the owner in numbers: what is copied to may have no names.
func (b *build) numericOwner(ctx context.Context, c *container, a api.Args) (api.Args, error) {
	owner := a.Str("owner")
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

func withSecretVariable(_ context.Context, b *build, c *container, a api.Args) error {
	secret, err := b.engine.secret(b.engine.api.Must(a.Str("secret")))
	if err != nil {
		return err
	}
	c.setSecretEnv(a.Str("name"), secret)
	return nil
}

func (c *container) setSecretEnv(name, secret string) {
	c.secretEnv = slices.DeleteFunc(c.secretEnv, func(s secretEnv) bool { return s.name == name })
	c.secretEnv = append(c.secretEnv, secretEnv{name, secret})
}
