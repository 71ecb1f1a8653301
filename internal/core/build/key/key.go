// Package key names what goes into an image: the same key, the same image. It reads files of this machine and nothing else;
// a function that it is given finds the digests of images.
//
// A build key is a hash over what a stage of a Dockerfile is made of: the files that its instructions can read, with the
// modes and without the times that a build gives them, the text of the stages, the platform, build arguments, the images of
// registries by digest, the ids of secrets, the versions of what makes the image, and a generation. The source key leaves
// out what changes by itself: the images' digests, and the generation.
package key

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
)

// Inputs are what a key is made from.
type Inputs struct {
	// Context lists the files of the build context.
	Context *Context
	// Dockerfile is the text of the Dockerfile, and Target the stage; "" is the last one.
	Dockerfile []byte
	Target     string
	// Platform is what the image is built for, such as linux/arm64.
	Platform string
	// Args are the build arguments that are given.
	Args map[string]string
	// Secrets are the ids of those that are given, and SSH reports whether an agent is.
	Secrets []string
	SSH     bool
	// Recipe names the versions of what makes an image of the Dockerfile.
	Recipe string
	// Generation is raised to build again what did not change.
	Generation string
	// Resolve returns the digest of an image of a registry: sha256:…
	Resolve func(ctx context.Context, image string) (string, error)
}

// Key names what goes into an image.
type Key struct {
	// Build is the key, in hex. Source leaves out what changes by itself.
	Build, Source string
	// Entries are what went in, in the order of the hash.
	Entries []Entry
	// Images are the images of registries among them, and their digests.
	Images map[string]string
	// Moving is why an image of this key must not be used again: an instruction that may take something else tomorrow, or an
	// image whose digest is not known. Build is then "".
	Moving []string
}

// Entry is one part of what went into a key.
type Entry struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value"`
}

// Kind is what an entry is.
type Kind string

// The kinds.
const (
	Recipe     Kind = "recipe"
	Generation Kind = "generation"
	Platform   Kind = "platform"
	Image      Kind = "image"
	Arg        Kind = "build-arg"
	Secret     Kind = "secret" // its id, and whether it is given
	SSH        Kind = "ssh"
	Stage      Kind = "stage" // the hash of its instructions
	File       Kind = "file"  // its mode and the hash of its content, or what a link points to
	Setting    Kind = "setting"
)

// Sees reports whether a file or directory of the build context, which may have files below it, went into the key.
func (k Key) Sees(name string) bool {
	return slices.ContainsFunc(k.Entries, func(e Entry) bool {
		return e.Kind == File && (e.Name == name || strings.HasPrefix(e.Name, name+"/"))
	})
}

// Of returns the key of a stage.
func Of(ctx context.Context, in Inputs) (Key, error) {
	c, err := dockerfile.Parse(in.Dockerfile).Closure(in.Target, in.Args, in.Platform)
	if err != nil {
		return Key{}, err
	}
	k := Key{Images: map[string]string{}, Moving: c.Moving}
	if err := k.resolve(ctx, c.Images, in.Resolve); err != nil {
		return Key{}, err
	}
	k.add(Recipe, "", in.Recipe)
	k.add(Generation, "", in.Generation)
	k.add(Platform, "", in.Platform)
	for _, name := range slices.Sorted(maps.Keys(k.Images)) {
		k.add(Image, name, k.Images[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Args)) {
		k.add(Arg, name, c.Args[name])
	}
	for _, id := range c.Secrets {
		k.add(Secret, id, given(slices.Contains(in.Secrets, id)))
	}
	for _, id := range c.SSH {
		k.add(SSH, id, given(in.SSH))
	}
	for _, s := range c.Stages {
		k.add(Stage, s.Name, stageHash(s))
	}
	files, err := in.Context.visible(ctx, c.Reads)
	if err != nil {
		return Key{}, err
	}
	k.Entries = append(k.Entries, files...)
	k.hash()
	return k, nil
}

// At returns the key of the same parts at another generation.
func (k Key) At(generation string) Key {
	k.Entries = slices.Clone(k.Entries)
	for i := range k.Entries {
		if k.Entries[i].Kind == Generation {
			k.Entries[i].Value = generation
		}
	}
	k.hash()
	return k
}

func (k *Key) add(kind Kind, name, value string) {
	k.Entries = append(k.Entries, Entry{kind, name, value})
}

func given(yes bool) string {
	if yes {
		return "given"
	}
	return "not given"
}

// resolve finds the digests of images. One that has a digest in its name needs no registry.
func (k *Key) resolve(ctx context.Context, images []string, resolve func(context.Context, string) (string, error)) error {
	digests, errs := make([]string, len(images)), make([]error, len(images))
	group, gctx := errgroup.WithContext(ctx)
	for i, name := range images {
		if _, digest, ok := strings.Cut(name, "@"); ok {
			digests[i] = digest
			continue
		}
		group.Go(func() error {
			digests[i], errs[i] = resolve(gctx, name)
			return nil
		})
	}
	_ = group.Wait()
	for i, name := range images {
		if errs[i] != nil {
			k.Moving = append(k.Moving, fmt.Sprintf("the digest of the image %s is not known: %v", name, errs[i]))
		}
		k.Images[name] = digests[i]
	}
	return context.Cause(ctx)
}

// stageHash is the hash of a stage's instructions, as they stand in the image's history, and of their here-documents.
// Comments are not in it.
func stageHash(s dockerfile.Stage) string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q\n", []string{s.From, s.Platform, s.Name})
	for _, i := range s.Instructions {
		fmt.Fprintf(hash, "%q %q\n", i.String(), i.Documents)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// hash computes the keys of the entries.
func (k *Key) hash() {
	build, source := sha256.New(), sha256.New()
	var line []byte
	for _, e := range k.Entries {
		line = line[:0]
		for _, part := range []string{string(e.Kind), e.Name, e.Value} {
			line = append(strconv.AppendQuote(line, part), '\n')
		}
		build.Write(line)
		if e.Kind != Image && e.Kind != Generation {
			source.Write(line)
		}
	}
	k.Source = hex.EncodeToString(source.Sum(nil))
	if len(k.Moving) == 0 {
		k.Build = hex.EncodeToString(build.Sum(nil))
	}
}

// Definition names how an image is tested.
type Definition struct {
	// Stages are the keys of the stages of the tests and of their services, by name.
	Stages map[string]Key
	// Images are the services' images of registries.
	Images []string
	// Settings are the rest, by the paths of their keys: commands, environment, ports.
	Settings map[string]string
	// Secrets are the names of those that are given.
	Secrets []string
	// Recipe names the version of what runs the tests.
	Recipe string
	// Resolve is that of Inputs.
	Resolve func(ctx context.Context, image string) (string, error)
}

// Key returns the key of a test definition. An image that passed the tests of a definition need not be tested again by it.
func (d Definition) Key(ctx context.Context) (Key, error) {
	k := Key{Images: map[string]string{}}
	if err := k.resolve(ctx, d.Images, d.Resolve); err != nil {
		return Key{}, err
	}
	k.add(Recipe, "", d.Recipe)
	for _, name := range slices.Sorted(maps.Keys(k.Images)) {
		k.add(Image, name, k.Images[name])
	}
	for _, name := range slices.Sorted(maps.Keys(d.Stages)) {
		stage := d.Stages[name]
		for _, why := range stage.Moving {
			k.Moving = append(k.Moving, fmt.Sprintf("stage %s: %s", name, why))
		}
		k.add(Stage, name, stage.Build)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Settings)) {
		k.add(Setting, name, d.Settings[name])
	}
	for _, name := range slices.Sorted(slices.Values(d.Secrets)) {
		k.add(Secret, name, given(true))
	}
	k.hash()
	return k, nil
}

// Prefixed marks the entries of a second key with what it is a key of.
func Prefixed(prefix string, entries []Entry) []Entry {
	var out []Entry
	for _, e := range entries {
		out = append(out, Entry{Kind: Kind(prefix + " " + string(e.Kind)), Name: e.Name, Value: e.Value})
	}
	return out
}
