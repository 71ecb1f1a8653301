package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/gitsource"
	"github.com/aksflow/aksflow/internal/engine/embedded/httpsource"
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

// gitRef works out a GitRef. The remote is asked once a session.
func (b *build) gitRef(ctx context.Context, n *api.Node) (gitsource.Repository, string, *sourceresolver.ResolveGitResponse, error) {
	r, err := b.repository(n.Parent)
	if err != nil {
		return r, "", nil, err
	}
	name, err := gitsource.RefName(n.Field, n.Args.Str("name"), n.Args.Str("id"))
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
	if depth, _ := n.Args.Num("depth"); r.KeepGitDir && (depth != 1 || n.Args.Flag("includeTags")) {
		return nil, errors.New("GitRef.tree: the embedded engine fetches one commit: leave out depth and includeTags, or set discardGitDir")
	}
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
	f, header, err := httpsource.Parse(a.Str("url"), a.Str("name"), a.Str("checksum"))
	if err != nil {
		return nil, err
	}
	mode, _ := a.Num("permissions")
	f.Mode = fs.FileMode(mode)
	if id := a.Str("authHeader"); id != "" {
		if header, err = b.engine.hidden(b.engine.api.Must(id)); err != nil {
			return nil, err
		}
	}
	if header != "" {
		f.AuthHeader = "http/" + b.engine.api.Mac(header)
		b.engine.secrets.Add(f.AuthHeader, header)
	}
	return &file{tree: &tree{state: f.State()}, path: "/" + f.Name}, nil
}
