package flow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/build/key"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/gitflow"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
)

// keyTag is how the tags begin that record which image was built of a key.
const keyTag = "src-"

// known is what is known about the source of a run: its keys, and the image that the registry has for it.
type known struct {
	image, tests key.Key
	// generation is the one of image: the period of build.refresh, and how often --rebuild was said in it.
	generation string
	// tag records the image in the environment's repository; "" when an image of this source must not be used again.
	tag string
	// digest is what the registry has for the tag; "" when it has nothing.
	digest string
	// why says why nothing is used again; "" when something may be.
	why string
}

// found reports whether the registry has the image of the source.
func (k *known) found() bool { return k != nil && k.digest != "" }

// lookUp computes the keys of the source and asks the environment's registry for its image, once. It is nil where there is
// no environment with a registry.
func (d *Delivery) lookUp(ctx context.Context) (*known, error) {
	if d.known != nil || d.WorkTree || !d.hasRegistry() {
		return d.known, nil
	}
	source, err := d.source(ctx)
	if err != nil {
		return nil, err
	}
	k, err := d.keys(ctx, source)
	if err != nil || k == nil {
		return nil, err
	}
	if err := d.ask(ctx, source, k); err != nil {
		return nil, err
	}
	return k, nil
}

// ask asks the environment's registry for the image of a key, unless that must not be used again. What it finds is what is
// known in this run.
func (d *Delivery) ask(ctx context.Context, source delivery.Source, k *known) error {
	if k.why = k.notReused(source); k.why == "" {
		if err := d.find(ctx, k); err != nil {
			return err
		}
	}
	d.known = k
	return nil
}

// hasRegistry reports whether there is a registry that may remember the image.
func (d *Delivery) hasRegistry() bool {
	return d.env != nil && d.env.Repository != "" && d.config.Path() != ""
}

// keys computes the keys of the source and of its tests. It returns nil for a Dockerfile without a stage: an engine says in
// which line the mistake is.
func (d *Delivery) keys(ctx context.Context, source delivery.Source) (*known, error) {
	text, err := d.dockerfile()
	if err != nil || !build.HasStage(text) {
		return nil, err
	}
	files, err := key.Read(d.config.Abs(d.config.Build.Context), d.config.Build.Dockerfile, d.Keys)
	if err != nil {
		return nil, fmt.Errorf("reading the build context: %w", err)
	}
	k := &known{}
	if k.generation, err = d.generation(0); err != nil {
		return nil, err
	}
	agent := d.outside().Variable("SSH_AUTH_SOCK")
	in := build.KeyInputs{
		Context: files, Dockerfile: text, Source: source, Args: d.BuildArgs, SSH: agent != "",
		Generation: k.generation, Resolve: d.resolveBase,
	}
	if k.image, err = build.ImageKey(ctx, d.config, in); err != nil {
		return nil, err
	}
	if k.image.Sees(".git") {
		report.Warn(ctx, "the Dockerfile copies the directory .git, which is different in every clone, so that every clone builds another image: write .git into .dockerignore")
	}
	if d.hasTests() {
		k.tests, err = build.TestKey(ctx, d.config, in)
	}
	return k, err
}

// generation is the n-th one of the current period of build.refresh.
func (d *Delivery) generation(n int) (string, error) {
	every, err := d.config.Build.RefreshEvery()
	if err != nil {
		return "", err
	}
	var period int64
	if every > 0 {
		period = time.Now().Unix() / int64(every.Seconds())
	}
	return fmt.Sprintf("%d.%d", period, n), nil
}

// firstGeneration is that of an image that was never built again.
const firstGeneration = "0.0"

// find looks up the newest generation that is recorded. --rebuild takes the one after it.
func (d *Delivery) find(ctx context.Context, k *known) error {
	repository, err := d.open(ctx, image.ReadOnly)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		generation, err := d.generation(n)
		if err != nil {
			return err
		}
		next := k.image.At(generation)
		digest, ok, err := repository.Digest(ctx, keyTag+next.Build)
		if err != nil {
			return err
		}
		if !ok && n > 0 && !d.Rebuild {
			return d.remember(k)
		}
		k.image, k.generation, k.tag, k.digest = next, generation, keyTag+next.Build, ""
		if !ok {
			return nil
		}
		k.digest = digest
	}
}

// remember notes on this machine which image is recorded for a key. A key stands for one image for ever, so another one is an
// error.
func (d *Delivery) remember(k *known) error {
	if d.Keys == "" {
		return nil
	}
	file := filepath.Join(d.Keys, "recorded", strings.ReplaceAll(d.env.Repository, "/", "_")+"_"+k.image.Build)
	before, err := os.ReadFile(file)
	switch {
	case err == nil && string(before) != k.digest:
		return d.changedKey(k, string(before), k.digest)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("reading which image was recorded: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("noting which image is recorded: %w", err)
	}
	return os.WriteFile(file, []byte(k.digest), 0o600)
}

// changedKey is the error of a key that stands for another image than before.
func (d *Delivery) changedKey(k *known, before, now string) error {
	return fmt.Errorf("%s:%s was the image %s, and is %s now: what is recorded for a source never changes by itself, so somebody else wrote it; find out who; `aksflow deliver --rebuild` builds the source again", d.env.Repository, k.tag, before, now)
}

// open connects to the environment's repository.
func (d *Delivery) open(ctx context.Context, access image.Access) (*image.Repository, error) {
	registry, err := d.registry(ctx)
	if err != nil {
		return nil, err
	}
	return registry.Open(ctx, d.env.Repository, access)
}

// resolveBase returns the digest of an image of a registry. It asks once for each.
func (d *Delivery) resolveBase(ctx context.Context, name string) (string, error) {
	d.basesMu.Lock()
	digest, ok := d.bases[name]
	d.basesMu.Unlock()
	if ok {
		return digest, nil
	}
	digest, err := d.baseDigest(ctx, name)
	if err != nil {
		return "", err
	}
	d.basesMu.Lock()
	defer d.basesMu.Unlock()
	if d.bases == nil {
		d.bases = map[string]string{}
	}
	d.bases[name] = digest
	return digest, nil
}

func (d *Delivery) baseDigest(ctx context.Context, name string) (string, error) {
	registry, err := d.registryOf(ctx, name)
	if err != nil {
		return "", err
	}
	return registry.Resolve(ctx, name)
}

// registryOf returns the login for an image's registry: the environment's own, or what this machine has.
func (d *Delivery) registryOf(ctx context.Context, name string) (image.Registry, error) {
	host := ref.Read(name).Host()
	if d.env != nil && host == ref.Read(d.env.Repository).Host() {
		return d.registry(ctx)
	}
	r := image.Registry{Network: d.Network}
	if host == "" || d.Azure == nil {
		return r, nil
	}
	login := RegistryLogin(ctx, d.Azure, host)
	if login == nil {
		return r, nil
	}
	var err error
	r.Username, r.Password, err = login.Login(ctx)
	return r, err
}

// moved says why the image that was just built of a key must not be recorded for it; "" when it may be.
func (d *Delivery) moved(ctx context.Context, k *known) (string, error) {
	for name, digest := range k.image.Images {
		pinned := name
		if before, _, ok := strings.Cut(name, "@"); ok {
			pinned = before
		} else if now, err := d.baseDigest(ctx, name); err != nil {
			return "", err
		} else if now != digest {
			return fmt.Sprintf("%s was %s when the build began, and is %s now", name, digest, now), nil
		}
		registry, err := d.registryOf(ctx, name)
		if err != nil {
			return "", err
		}
		pinned = ref.Ref{Repository: ref.Read(pinned).Repository, Digest: digest}.String()
		if has, err := registry.OnBuild(ctx, pinned); err != nil {
			return "", err
		} else if has {
			return fmt.Sprintf("the image %s has ONBUILD instructions, which the key does not see", name), nil
		}
	}
	return "", nil
}

// sayFound says that nothing is built, and why.
func sayFound(ctx context.Context, k *known, built time.Time) string {
	text := fmt.Sprintf("image of this source is in the registry: %s", k.digest)
	if !built.IsZero() {
		text += " built " + report.Ago(time.Since(built))
	}
	report.Info(ctx, "%s; no build", text)
	return text
}

// mayRecord reports whether this run may record what it builds: a pull request's source may be anybody's.
func (d *Delivery) mayRecord() bool {
	return !gitflow.IsPullRequest(d.gitRef) && !gitflow.IsPullRequest(d.Ref)
}

// scratch returns a directory that Close removes.
func (d *Delivery) scratch() (string, error) {
	if d.scratchDir == "" {
		dir, err := os.MkdirTemp("", "aksflow-")
		if err != nil {
			return "", fmt.Errorf("making a folder for the image: %w", err)
		}
		d.scratchDir = dir
	}
	return d.scratchDir, nil
}
