package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/gitsource"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
)

// repository works out a GitRepository.
func (b *build) repository(n *api.Node) (gitsource.Repository, error) {
	e, a := b.engine, n.Args
	r, header, err := gitsource.Parse(a.Str("url"))
	if err != nil {
		return r, err
	}
	r.KeepGitDir, r.KnownHosts = a.Flag("keepGitDir"), a.Str("sshKnownHosts")
	for name, toHeader := range map[string]func(string) string{
		"httpAuthToken": func(token string) string {
			return gitsource.BasicAuth(cmp.Or(a.Str("httpAuthUsername"), gitsource.DefaultUser), token)
		},
		"httpAuthHeader": func(value string) string { return value },
	} {
		if id := a.Str(name); id != "" {
			value, err := e.hidden(e.api.Must(id))
			if err != nil {
				return r, err
			}
			header = toHeader(value)
		}
	}
	if header != "" {
		r.AuthHeader = "git/" + e.api.Mac(header)
		e.secrets.Add(r.AuthHeader, header)
	}
	if !r.SSH {
		return r, nil
	}
	socket, _ := e.secrets.Variable("SSH_AUTH_SOCK")
	if id := a.Str("sshAuthSocket"); id != "" {
		socket = e.api.Must(id).Args.Str("path")
	}
	if socket == "" {
		return r, errors.New("git: SSH URLs are not supported without an SSH socket: set SSH_AUTH_SOCK (eval $(ssh-agent); ssh-add), or pass sshAuthSocket")
	}
	r.Socket = e.sockets.Add(socket)
	return r, nil
}

// hidden returns the value of a secret, which from now on no message shows.
func (e *Engine) hidden(n *api.Node) (string, error) {
	if _, err := e.secret(n); err != nil {
		return "", err
	}
	_, value, err := e.secrets.Plaintext(n)
	return value, err
}

// gitRefName is the ref that a field of a GitRepository names.
func gitRefName(n *api.Node) (string, error) {
	name := n.Args.Str("name")
	switch n.Field {
	case "branch":
		return "refs/heads/" + strings.TrimPrefix(name, "refs/heads/"), nil
	case "tag":
		return "refs/tags/" + strings.TrimPrefix(name, "refs/tags/"), nil
	case "commit":
		id := n.Args.Str("id")
		if !gitsource.Commit.MatchString(id) {
			return "", fmt.Errorf("invalid commit SHA: %q", id)
		}
		return id, nil
	}
	return cmp.Or(name, "HEAD"), nil
}

// gitRef works out a GitRef. The remote is asked once a session.
func (b *build) gitRef(ctx context.Context, n *api.Node) (gitsource.Repository, string, *sourceresolver.ResolveGitResponse, error) {
	r, err := b.repository(n.Parent)
	if err != nil {
		return r, "", nil, err
	}
	name, err := gitRefName(n)
	if err != nil {
		return r, "", nil, err
	}
	if known, ok := b.engine.resolved.Load(n.ID); ok {
		return r, name, known.(*sourceresolver.ResolveGitResponse), nil
	}
	asked := r
	asked.KeepGitDir = false // BuildKit looks up the commit of an annotated tag only without it
	def, err := asked.State(name, "").Marshal(ctx)
	if err != nil {
		return r, "", nil, err
	}
	var op pb.Op
	if err := op.UnmarshalVT(def.Def[0]); err != nil {
		return r, "", nil, err
	}
	found, err := b.gateway.ResolveSourceMetadata(ctx, op.GetSource(), sourceresolver.Opt{
		LogName: progress.InternalPrefix + "resolve " + r.URL,
		GitOpt:  &sourceresolver.ResolveGitOpt{},
	})
	if err != nil {
		return r, "", nil, fmt.Errorf("git %s %s: %w", r.URL, name, err)
	}
	b.engine.resolved.Store(n.ID, found.Git)
	return r, name, found.Git, nil
}

// gitTree is GitRef.tree.
func (b *build) gitTree(ctx context.Context, n *api.Node) (*directory, error) {
	r, name, found, err := b.gitRef(ctx, n.Parent)
	if err != nil {
		return nil, err
	}
	r.KeepGitDir = r.KeepGitDir && !n.Args.Flag("discardGitDir")
	return &directory{tree: tree{state: r.State(name, found.Checksum)}, path: "/"}, nil
}

// asksGit makes a leaf of a question about a GitRef.
func asksGit(f func(*sourceresolver.ResolveGitResponse) string) leaf {
	return reading(func(ctx context.Context, b *build, n *api.Node, _ api.Args) (any, error) {
		_, _, found, err := b.gitRef(ctx, n)
		if err != nil {
			return nil, err
		}
		return f(found), nil
	})
}

// httpFile is Query.http.
func (b *build) httpFile(n *api.Node) (*file, error) {
	a := n.Args
	u, err := url.Parse(a.Str("url"))
	if err != nil || u.Host == "" {
		return nil, errors.New("http: the URL is not one of a file on a web server")
	}
	name := a.Str("name")
	if name == "" {
		if name = path.Base(u.Path); name == "." || name == "/" {
			name = "index"
		}
	}
	mode, _ := a.Num("permissions")
	opts := []llb.HTTPOption{llb.Filename(name), llb.Chmod(fs.FileMode(mode)), llb.WithCustomName("http " + u.Redacted())}
	if sum := a.Str("checksum"); sum != "" {
		d, err := digest.Parse(sum)
		if err != nil {
			return nil, fmt.Errorf("invalid checksum %q: %w", sum, err)
		}
		opts = append(opts, llb.Checksum(d))
	}
	header := ""
	if password, ok := u.User.Password(); ok {
		header = gitsource.BasicAuth(u.User.Username(), password)
		u.User = nil
	}
	if id := a.Str("authHeader"); id != "" {
		if header, err = b.engine.hidden(b.engine.api.Must(id)); err != nil {
			return nil, err
		}
	}
	if header != "" {
		id := "http/" + b.engine.api.Mac(header)
		b.engine.secrets.Add(id, header)
		opts = append(opts, llb.AuthHeaderSecret(id))
	}
	return &file{tree: &tree{state: llb.HTTP(u.String(), opts...)}, path: "/" + name}, nil
}
