package embedded

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commonexptypes "github.com/moby/buildkit/exporter/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/dockerfile"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
	"github.com/aksflow/aksflow/internal/engine/embedded/remotecache"
)

// dockerBuild builds a Dockerfile with the daemon's own frontend. A "# syntax=" line would fetch another one from the
// internet, and is ignored.
func (b *build) dockerBuild(ctx context.Context, n *api.Node) (*container, error) {
	p, err := b.platformArg(n.Args)
	if err != nil {
		return nil, err
	}
	file := path.Clean(n.Args.Str("dockerfile"))
	source, err := b.buildContext(ctx, n.Parent, file)
	if err != nil {
		return nil, err
	}
	opt := b.frontendOptions(n.Args.Str("target"), file)
	opt["platform"] = platforms.Format(p)
	epoch := dockerfile.Args(n.Args, source.dockerfile, opt)
	for _, id := range n.Args.List("secrets") {
		if err := b.engine.buildSecret(b.engine.api.Must(id)); err != nil {
			return nil, err
		}
	}
	if id := n.Args.Str("ssh"); id != "" {
		if err := b.engine.sockets.UseAgent(b.engine.api.Must(id).Args.Str("path")); err != nil {
			return nil, err
		}
	}
	r, err := b.solveDockerfile(ctx, source, opt)
	if err != nil {
		return nil, err
	}
	b.engine.cache.Built(n.ID, opt["target"])
	for _, image := range dockerfile.Bases(source.dockerfile, opt) {
		if digest, _, err := b.resolve(ctx, image, p); err == nil { // else the frontend did without it
			b.engine.pins.Add(image, digest)
		}
	}
	c := &container{platform: p, base: r.Metadata[exptypes.ExporterImageBaseConfigKey]}
	if c.epoch = r.Metadata[commonexptypes.ExporterEpochKey]; len(c.epoch) == 0 {
		c.epoch = epoch
	}
	if len(c.epoch) == 0 {
		c.epoch = dockerfile.BaseEpoch(c.base)
	}
	if err := c.setImage(r.Metadata[exptypes.ExporterImageConfigKey], tree{state: llb.Scratch(), steps: source.steps}); err != nil {
		return nil, err
	}
	if err := dockerfile.FitsBase(c.base, c.config.Platform); err != nil {
		return nil, err
	}
	ref, err := r.SingleRef()
	if err != nil {
		return nil, err
	}
	if ref != nil {
		st, err := ref.ToState()
		if err != nil {
			return nil, err
		}
		c.root.state = bare(st)
	}
	return c, nil
}

// frontendOptions are those of the frontend for a stage, in what a session has in common.
func (b *build) frontendOptions(stage, file string) map[string]string {
	opt := map[string]string{
		"filename": file,
		"cmdline":  "dockerfile.v0", // says that the syntax line was dealt with
	}
	if stage != "" {
		opt["target"] = stage
	}
	if b.engine.noCache {
		opt["no-cache"] = "" // of all stages
	}
	if imports := b.engine.cache.Imports(stage); imports != "" {
		opt[remotecache.ImportKey] = imports
	}
	return opt
}

// solveDockerfile runs the frontend.
func (b *build) solveDockerfile(ctx context.Context, source *buildSource, opt map[string]string) (*gateway.Result, error) {
	b.need(tree{steps: source.steps}.needs())
	definitions := map[string]*pb.Definition{}
	for name, st := range source.inputs {
		def, err := st.Marshal(ctx, llb.Platform(b.platform()))
		if err != nil {
			return nil, err
		}
		definitions[name] = def.ToPB()
	}
	// Only what this request evaluates comes out of a registry: a later one for the same steps knows of none.
	imports := opt[remotecache.ImportKey] != ""
	return b.gateway.Solve(ctx, gateway.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: opt, FrontendInputs: definitions, Evaluate: imports})
}

// buildSource is what a Dockerfile is built from.
type buildSource struct {
	inputs     map[string]llb.State // the frontend's: the build context, and where the Dockerfile is
	steps      []*step
	dockerfile []byte
}

// buildContext returns a build context, without what .dockerignore names, and the Dockerfile.
func (b *build) buildContext(ctx context.Context, dir *api.Node, file string) (*buildSource, error) {
	if dir.Parent.Type == "Host" {
		return b.hostContext(dir, file)
	}
	if dir.Field == "withTimestamps" && dir.Parent.Parent.Type == "Host" {
		source, err := b.hostContext(dir.Parent, file)
		if err == nil {
			source.inputs["context"] = withTimestamps(source.inputs["context"], "/", dir.Args)
		}
		return source, err
	}
	d, err := b.directory(ctx, dir)
	if err != nil {
		return nil, err
	}
	if d.tree.state.Output() == nil {
		return nil, fmt.Errorf("no Dockerfile: the build context is empty; it should hold %s", file)
	}
	read := func(name string) ([]byte, error) { return b.read(ctx, d.tree, b.platform(), path.Join(d.path, name)) }
	text, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("no Dockerfile: %w", err)
	}
	ignored, err := dockerfile.IgnorePatterns(file, read)
	if err != nil {
		return nil, err
	}
	whole := d.tree.state
	if d.path != "/" {
		whole = tree{state: llb.Scratch()}.withDirectory("/", d, nil).state
	}
	filtered := whole
	if len(ignored) > 0 {
		filtered = llb.Scratch().File(
			llb.Copy(whole, "/", "/", &llb.CopyInfo{CopyDirContentsOnly: true, ExcludePatterns: ignored}),
			llb.WithCustomName(progress.InternalPrefix+"apply .dockerignore"))
	}
	return &buildSource{
		inputs: map[string]llb.State{"context": filtered, "dockerfile": whole}, steps: d.tree.steps, dockerfile: text,
	}, nil
}

// hostContext is buildContext for a directory of the host. Ignored files are not even read.
func (b *build) hostContext(dir *api.Node, file string) (*buildSource, error) {
	s, err := b.engine.hostSource(dir)
	if err != nil {
		return nil, err
	}
	read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(s.path, name)) }
	text, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("no Dockerfile: %w", err)
	}
	ignored, err := dockerfile.IgnorePatterns(file, read)
	if err != nil {
		return nil, err
	}
	b.engine.hosts.Reads(s.path, ignored)
	return &buildSource{inputs: map[string]llb.State{
		"context": s.state(b.engine, "load build context", ignored),
		"dockerfile": s.state(b.engine, "load build definition", nil,
			llb.FollowPaths([]string{file}), llb.Differ(llb.DiffNone, false)),
	}, dockerfile: text}, nil
}
