package dockerfile

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	sourcepolicy "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/opencontainers/go-digest"
)

// Bases returns the images of registries that the stages of a Dockerfile are made from by a tag, in full. opt are the
// frontend's options. What cannot be read here is left out: the frontend says what is wrong with it.
func Bases(dockerfile []byte, opt map[string]string) []string {
	parsed, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil
	}
	stages, global, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil
	}
	lex := shell.NewLex(parsed.EscapeToken)
	var env []string
	for _, arg := range global {
		for _, a := range arg.Args {
			value, given := opt["build-arg:"+a.Key]
			if !given && a.Value != nil {
				if value, _, err = lex.ProcessWord(*a.Value, shell.EnvsFromSlice(env)); err != nil {
					return nil
				}
			}
			env = append(env, a.Key+"="+value)
		}
	}
	var images, names []string
	for _, s := range stages {
		name, _, err := lex.ProcessWord(s.BaseName, shell.EnvsFromSlice(env))
		if err == nil && name != "scratch" && !slices.Contains(names, strings.ToLower(name)) {
			named, err := reference.ParseNormalizedNamed(name)
			if _, pinned := named.(reference.Digested); err == nil && !pinned {
				images = append(images, reference.TagNameOnly(named).String())
			}
		}
		names = append(names, strings.ToLower(s.Name))
	}
	return images
}

// Pins keep the digests of images, so that a tag means the same image in all builds of a session.
type Pins struct {
	mu    sync.Mutex
	rules []*sourcepolicy.Rule
	known map[string]bool
}

// Add pins an image.
func (p *Pins) Add(image string, d digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[image] {
		return
	}
	if p.known == nil {
		p.known = map[string]bool{}
	}
	p.known[image] = true
	const scheme = "docker-image://"
	p.rules = append(p.rules, &sourcepolicy.Rule{
		Action:   sourcepolicy.PolicyAction_CONVERT,
		Selector: &sourcepolicy.Selector{Identifier: scheme + image, MatchType: sourcepolicy.MatchType_EXACT},
		Updates:  &sourcepolicy.Update{Identifier: scheme + image + "@" + d.String()},
	})
}

// Policy is what BuildKit is told about the images; nil if there are none.
func (p *Pins) Policy() *sourcepolicy.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rules == nil {
		return nil
	}
	return &sourcepolicy.Policy{Version: 1, Rules: slices.Clone(p.rules)}
}
