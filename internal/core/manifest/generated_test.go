package manifest

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

var generatedRuns = flag.Int("generated", 300, "how many kustomizations TestGeneratedKustomizations generates")

// generator writes kustomizations in the many ways in which people do.
type generator struct{ *rand.Rand }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g generator) pick(s ...string) string { return s[g.IntN(len(s))] }

// scalar writes a value plain or in quotes.
func (g generator) scalar(value string) string {
	if g.chance(30) {
		return `"` + value + `"`
	}
	if g.chance(20) || value == "1.0" || value == "" {
		return `'` + value + `'`
	}
	return value
}

// entry writes an item of images: with its keys in any order.
func (g generator) entry(name string) string {
	keys := []string{"name: " + g.scalar(name)}
	if g.chance(60) {
		keys = append(keys, "newName: "+g.scalar(g.pick("old.example.com/x", "shop/vote", name, "registry.example.com:5000/shop/vote", "a/b@sha256:"+zeros, "a/b:c")))
	}
	if g.chance(60) {
		keys = append(keys, "newTag: "+g.scalar(g.pick("1.0", "v1", "latest", "")))
	}
	if g.chance(50) {
		keys = append(keys, "digest: "+g.scalar("sha256:"+zeros))
	}
	g.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	if g.chance(40) {
		return g.flow(keys)
	}
	var b strings.Builder
	for i, key := range keys {
		if i > 0 {
			if g.chance(10) {
				b.WriteString("  # about " + strings.Fields(key)[0] + "\n")
			}
			if g.chance(5) {
				b.WriteString("\n")
			}
			b.WriteString("  ")
		}
		b.WriteString(key + g.pick("", "", "", " # keep", "  ") + "\n")
	}
	return b.String()
}

func (g generator) flow(keys []string) string {
	separator := g.pick(", ", ",\n   ", " , ")
	return "{" + g.pick("", " ") + strings.Join(keys, separator) + g.pick("", " ", ",", "\n  ") + "}" + g.pick("", " # one line") + "\n"
}

// kustomization writes an overlay of ../base.
func (g generator) kustomization(names []string) string {
	var parts []string
	parts = append(parts, g.pick("resources:\n- ../base\n", "resources: [../base]\n", "resources:\n  - ../base # the base\n"))
	if g.chance(30) {
		parts = append(parts, g.pick("namespace: dev\n", "namePrefix: dev-\n", "commonAnnotations:\n  a: b\n"))
	}
	if g.chance(25) {
		parts = append(parts, "patches:\n- target: {kind: Deployment}\n  patch: |-\n    - op: replace\n      path: /spec/template/spec/containers/0/image\n      value: "+
			g.pick("shop/vote:9", "registry.example.com:5000/shop/vote:9", "shop/vote")+"\n")
	}
	if len(names) > 0 || g.chance(10) {
		var b strings.Builder
		indent := g.pick("", "  ")
		b.WriteString("images:" + g.pick("", " # ours") + "\n")
		for _, name := range names {
			for i, line := range strings.SplitAfter(g.entry(name), "\n") {
				switch {
				case line == "":
				case i == 0:
					b.WriteString(indent + "- " + line)
				case line == "\n":
					b.WriteString(line)
				default:
					b.WriteString(indent + line)
				}
			}
		}
		if len(names) == 0 {
			b.Reset()
			b.WriteString(g.pick("images: []\n", "images:\n", "images: ~ # none\n", "images: [ ]\n"))
		}
		parts = append(parts, b.String())
	}
	g.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	out := strings.Join(parts, g.pick("", "", "\n", "# ---\n"))
	if g.chance(20) {
		out = strings.TrimRight(out, "\n")
	}
	if g.chance(10) {
		out = strings.ReplaceAll(out, "\n", "\r\n")
	}
	return out
}

// TestGeneratedKustomizations edits generated overlays of a shared base and asks kustomize: what comes out has the new
// image, and the other images and the base are what they were.
func TestGeneratedKustomizations(t *testing.T) {
	const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: vote}
spec: {template: {spec: {containers: [{name: vote, image: %q}, {name: cache, image: "redis:8"}]}}}
`
	images := []string{propertyImage, "registry.example.com:5000/shop/vote@sha256:" + strings.Repeat("12", 32), "registry.example.com:5000/shop/vote:v9", "shop/vote:v9"}
	matched := 0
	for seed := range *generatedRuns {
		g := generator{rand.New(rand.NewPCG(uint64(seed), 1))}
		var names []string
		for _, name := range []string{"shop/vote", "vote", "registry.example.com:5000/shop/vote", "redis", "web"} {
			if g.chance(35) {
				names = append(names, name)
			}
		}
		g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		files := fstest.MapFS{
			"base/kustomization.yaml":    {Data: []byte(g.pick("resources: [d.yaml]\n", "resources: [d.yaml]\nimages: [{name: vote, newName: shop/vote, newTag: base}]\n"))},
			"base/d.yaml":                {Data: fmt.Appendf(nil, deployment, g.pick("shop/vote:1", "vote", "vote:2", "registry.example.com:5000/shop/vote@sha256:"+zeros))},
			"overlay/kustomization.yaml": {Data: []byte(g.kustomization(names))},
		}
		if _, err := testBuild(t.Context(), files, "overlay"); err != nil {
			continue // kustomize refuses it as it is
		}
		target := Target{Image: images[g.IntN(len(images))], Replace: []string{"vote", "shop/vote", "old.example.com/x", "a/b"}}
		shown := func() string {
			return fmt.Sprintf("seed %d, %s\n%s\nbase:\n%s%s", seed, target.Image, files["overlay/kustomization.yaml"].Data, files["base/kustomization.yaml"].Data, files["base/d.yaml"].Data)
		}
		edit, err := Plan(t.Context(), files, "overlay", target, Options{Build: testBuild, Strict: true})
		var none *NoMatchError
		if errors.As(err, &none) {
			require.NotContains(t, string(must(testBuild(t.Context(), files, "overlay"))), "vote:", shown())
			continue
		}
		require.NoError(t, err, shown())
		matched++
		for _, f := range edit.Files {
			require.Equal(t, "overlay/kustomization.yaml", f.Path)
			files[f.Path] = &fstest.MapFile{Data: f.Content}
		}
		out, err := testBuild(t.Context(), files, "overlay")
		require.NoError(t, err, shown())
		for _, m := range builtImage.FindAllStringSubmatch(string(out), -1) {
			if strings.HasPrefix(m[1], "redis") || strings.HasPrefix(m[1], "web") {
				continue
			}
			want := []string{target.Image}
			if strings.Contains(string(files["overlay/kustomization.yaml"].Data), "name: redis") || strings.Contains(string(files["overlay/kustomization.yaml"].Data), `redis`) {
				want = append(want, m[1]) // an entry renames redis
			}
			require.Contains(t, want, m[1], shown())
		}
		require.Contains(t, string(out), "image: "+target.Image+"\n", shown())
		again, err := Plan(t.Context(), files, "overlay", target, Options{Build: testBuild})
		require.NoError(t, err, shown())
		require.Empty(t, again.Changes, shown())
	}
	require.Greater(t, matched, *generatedRuns/2)
}

func must(out []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return out
}
