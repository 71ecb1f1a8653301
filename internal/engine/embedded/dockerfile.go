package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commonexptypes "github.com/moby/buildkit/exporter/exptypes"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/patternmatcher/ignorefile"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// dockerBuild builds a Dockerfile with the daemon's own frontend. A "# syntax=" line would fetch another one from the
// internet, and is ignored.
func (b *build) dockerBuild(ctx context.Context, n *api.Node) (*container, error) {
	p, err := b.platformArg(n.Args)
	if err != nil {
		return nil, err
	}
	dockerfile := path.Clean(n.Args.Str("dockerfile"))
	source, err := b.buildContext(ctx, n.Parent, dockerfile)
	if err != nil {
		return nil, err
	}
	opt := map[string]string{
		"filename": dockerfile,
		"platform": platforms.Format(p),
		"cmdline":  "dockerfile.v0", // says that the syntax line was dealt with
	}
	if target := n.Args.Str("target"); target != "" {
		opt["target"] = target
	}
	epoch := buildArgs(n.Args, source.dockerfile, opt)
	for _, id := range n.Args.List("secrets") {
		if err := b.engine.buildSecret(b.engine.api.Must(id)); err != nil {
			return nil, err
		}
	}
	if id := n.Args.Str("ssh"); id != "" {
		if err := b.engine.agent.Use(b.engine.api.Must(id).Args.Str("path")); err != nil {
			return nil, err
		}
	}
	r, err := b.solveDockerfile(ctx, source, opt)
	if err != nil {
		return nil, err
	}
	c := &container{platform: p, base: r.Metadata[exptypes.ExporterImageBaseConfigKey]}
	if c.epoch = r.Metadata[commonexptypes.ExporterEpochKey]; len(c.epoch) == 0 {
		c.epoch = epoch
	}
	if len(c.epoch) == 0 {
		c.epoch = baseEpoch(c.base)
	}
	if err := c.setImage(r.Metadata[exptypes.ExporterImageConfigKey], tree{state: llb.Scratch(), steps: source.steps}); err != nil {
		return nil, err
	}
	if err := c.fitsBase(); err != nil {
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

// fitsBase refuses an image that says it is for one platform and is built on an image for another. BuildKit only warns,
// and the image then fails where it is run.
func (c *container) fitsBase() error {
	var base ocispecs.Image
	if json.Unmarshal(c.base, &base) != nil || base.Architecture == "" {
		return nil
	}
	is, says := platforms.Normalize(base.Platform), platforms.Normalize(c.config.Platform)
	if is.OS == says.OS && is.Architecture == says.Architecture {
		return nil
	}
	return fmt.Errorf("the image would be for %s, and its base image is for %s: choose a base that has %[1]s, or build for %[2]s",
		platforms.Format(says), platforms.Format(is))
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
	return b.gateway.Solve(ctx, gateway.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: opt, FrontendInputs: definitions})
}

// epochArg is the build argument with the time, in seconds since 1970, that is the latest in the image.
// https://reproducible-builds.org/docs/source-date-epoch/
const epochArg = "SOURCE_DATE_EPOCH"

// buildArgs adds the build arguments to the frontend's options, and returns the epoch that they name.
//
// The frontend makes the epoch a part of the cache key of every WORKDIR. So it gets the epoch only if the Dockerfile
// declares the argument; otherwise only the exporter applies it, and an epoch that changes runs nothing again.
func buildArgs(a api.Args, dockerfile []byte, opt map[string]string) (epoch []byte) {
	list, _ := a["buildArgs"].([]any)
	for _, arg := range list {
		a := api.Args(arg.(map[string]any))
		name, value := a.Str("name"), a.Str("value")
		if _, err := strconv.ParseInt(value, 10, 64); name == epochArg && err == nil && !declares(dockerfile, epochArg) {
			epoch = []byte(value)
			continue
		}
		opt["build-arg:"+name] = value
	}
	return epoch
}

// declares reports whether a Dockerfile has an ARG instruction for name, in whichever stage. A Dockerfile that cannot be
// parsed declares nothing: the frontend says what is wrong with it.
func declares(dockerfile []byte, name string) bool {
	parsed, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return false
	}
	for _, instruction := range parsed.AST.Children {
		if !strings.EqualFold(instruction.Value, "arg") {
			continue
		}
		for word := instruction.Next; word != nil; word = word.Next {
			if declared, _, _ := strings.Cut(word.Value, "="); declared == name {
				return true
			}
		}
	}
	return false
}

// oldestEpoch is the epoch of an image whose base does not say when it was made: 1980-01-01, the earliest time that a ZIP
// archive can hold.
const oldestEpoch = 315532800

// baseEpoch returns the epoch of an image for which none was given: the time at which its base image was made. It depends
// on what the image is made from and on nothing else. It is also late enough to keep the times of most files that come
// from the distribution's packages; Python, for one, compares them with those that its compiled files name.
func baseEpoch(base []byte) []byte {
	epoch := int64(oldestEpoch)
	var config dockerspec.DockerOCIImage
	if json.Unmarshal(base, &config) == nil && config.Created != nil && config.Created.After(time.Unix(epoch, 0)) {
		epoch = config.Created.Unix()
	}
	return []byte(strconv.FormatInt(epoch, 10))
}

// buildSource is what a Dockerfile is built from.
type buildSource struct {
	inputs     map[string]llb.State // the frontend's: the build context, and where the Dockerfile is
	steps      []*step
	dockerfile []byte
}

// buildContext returns a build context, without what .dockerignore names, and the Dockerfile.
func (b *build) buildContext(ctx context.Context, dir *api.Node, dockerfile string) (*buildSource, error) {
	if dir.Parent.Type == "Host" {
		return b.hostContext(dir, dockerfile)
	}
	d, err := b.directory(ctx, dir)
	if err != nil {
		return nil, err
	}
	if d.tree.state.Output() == nil {
		return nil, fmt.Errorf("no Dockerfile: the build context is empty; it should hold %s", dockerfile)
	}
	read := func(name string) ([]byte, error) { return b.read(ctx, d.tree, b.platform(), path.Join(d.path, name)) }
	text, err := read(dockerfile)
	if err != nil {
		return nil, fmt.Errorf("no Dockerfile: %w", err)
	}
	ignored, err := ignorePatterns(dockerfile, read)
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
			llb.WithCustomName(internalPrefix+"apply .dockerignore"))
	}
	return &buildSource{
		inputs: map[string]llb.State{"context": filtered, "dockerfile": whole}, steps: d.tree.steps, dockerfile: text,
	}, nil
}

// hostContext is buildContext for a directory of the host. Ignored files are not even read.
func (b *build) hostContext(dir *api.Node, dockerfile string) (*buildSource, error) {
	s, err := b.engine.hostSource(dir)
	if err != nil {
		return nil, err
	}
	read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(s.path, name)) }
	text, err := read(dockerfile)
	if err != nil {
		return nil, fmt.Errorf("no Dockerfile: %w", err)
	}
	ignored, err := ignorePatterns(dockerfile, read)
	if err != nil {
		return nil, err
	}
	b.engine.hosts.reads(s.path, ignored)
	return &buildSource{inputs: map[string]llb.State{
		"context": s.state(b.engine, "load build context", ignored),
		"dockerfile": s.state(b.engine, "load build definition", nil,
			llb.FollowPaths([]string{dockerfile}), llb.Differ(llb.DiffNone, false)),
	}, dockerfile: text}, nil
}

// ignorePatterns reads the ignore file of a Dockerfile, or the one of its context.
func ignorePatterns(dockerfile string, read func(string) ([]byte, error)) ([]string, error) {
	for _, name := range []string{dockerfile + ".dockerignore", ".dockerignore"} {
		text, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(strings.NewReader(string(text)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return patterns, nil
	}
	return nil, nil
}
