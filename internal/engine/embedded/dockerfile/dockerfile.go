// Package dockerfile reads what the engine must know of a Dockerfile before BuildKit's frontend builds it.
package dockerfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/patternmatcher/ignorefile"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// epochArg is the build argument with the time, in seconds since 1970, that is the latest in the image.
// https://reproducible-builds.org/docs/source-date-epoch/
const epochArg = "SOURCE_DATE_EPOCH"

// Args adds the build arguments to the frontend's options, and returns the epoch that they name.
//
// The frontend makes the epoch a part of the cache key of every WORKDIR. So it gets the epoch only if the Dockerfile
// declares the argument; otherwise only the exporter applies it, and an epoch that changes runs nothing again.
func Args(a api.Args, dockerfile []byte, opt map[string]string) (epoch []byte) {
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

// BaseEpoch returns the epoch of an image for which none was given: the time at which its base image was made. It depends
// on what the image is made from and on nothing else. It is also late enough to keep the times of most files that come
// from the distribution's packages; Python, for one, compares them with those that its compiled files name.
func BaseEpoch(base []byte) []byte {
	epoch := int64(oldestEpoch)
	var config dockerspec.DockerOCIImage
	if json.Unmarshal(base, &config) == nil && config.Created != nil && config.Created.After(time.Unix(epoch, 0)) {
		epoch = config.Created.Unix()
	}
	return []byte(strconv.FormatInt(epoch, 10))
}

// IgnorePatterns reads the ignore file of a Dockerfile, or the one of its context.
func IgnorePatterns(dockerfile string, read func(string) ([]byte, error)) ([]string, error) {
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

// FitsBase refuses an image that says it is for one platform and is built on an image for another, whose configuration base
// is. BuildKit only warns, and the image then fails where it is run.
func FitsBase(base []byte, says ocispecs.Platform) error {
	var on ocispecs.Image
	if json.Unmarshal(base, &on) != nil || on.Architecture == "" {
		return nil
	}
	is := platforms.Normalize(on.Platform)
	says = platforms.Normalize(says)
	if is.OS == says.OS && is.Architecture == says.Architecture {
		return nil
	}
	return fmt.Errorf("the image would be for %s, and its base image is for %s: choose a base that has %[1]s, or build for %[2]s",
		platforms.Format(says), platforms.Format(is))
}
