package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest/edit"
)

// judge asks kustomize what comes out of each environment that has to do with the edit. What is missing from one is
// pinned in its images:, one environment at a time; what cannot be pinned is an error.
func (p *planner) judge(ctx context.Context) error {
	var without []string
	right := false
	for _, env := range p.environments {
		if !p.concerned(env) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		found, err := p.judgeEnvironment(ctx, env)
		if err != nil {
			return err
		}
		right = right || found
		if !found {
			without = append(without, env.name)
		}
	}
	if !right && len(without) > 0 && p.Build != nil && !p.editsBeside(without) {
		var verified []string
		for _, name := range without {
			if !p.unverified(name) {
				verified = append(verified, p.shown(path.Dir(name)))
			}
		}
		if len(verified) == len(without) && p.matched() > 0 {
			return fmt.Errorf("kustomize build of %s does not give the image: nothing there uses the references that name it; nothing was changed",
				strings.Join(verified, ", "))
		}
	}
	for _, name := range without {
		if p.Build != nil && !p.unverified(name) && p.edits(name) {
			p.edit.Unverified = append(p.edit.Unverified, Unverified{p.shown(name),
				"kustomize build does not give the image: nothing in it uses the references that were set"})
		}
	}
	return nil
}

func (p *planner) matched() int {
	n := 0
	for _, r := range p.results {
		if r != nil {
			n += r.Matched
		}
	}
	return n
}

// edits reports whether a kustomization's own file is edited.
func (p *planner) edits(name string) bool {
	r := p.results[name]
	return r != nil && len(r.Changes) > 0
}

// editsBeside reports whether a file with the image is in none of the environments.
func (p *planner) editsBeside(environments []string) bool {
	for name, r := range p.results {
		if r == nil || r.Matched == 0 {
			continue
		}
		reached := slices.ContainsFunc(p.environments, func(env *root) bool {
			return slices.Contains(environments, env.name) && env.reach[name]
		})
		if !reached {
			return true
		}
	}
	return false
}

func (p *planner) unverified(name string) bool {
	return slices.ContainsFunc(p.edit.Unverified, func(u Unverified) bool { return u.File == p.shown(name) })
}

// concerned reports whether an environment is made from a file that holds the image.
func (p *planner) concerned(env *root) bool {
	for name := range env.reach {
		if r := p.results[name]; r != nil && r.Matched > 0 {
			return true
		}
		if p.inside(name) && p.links[name] == "" {
			continue
		}
		var content bytes.Buffer
		if p.read(name, &content) == nil && edit.MayHold(content.Bytes(), p.traces) {
			return true
		}
	}
	return false
}

// judgeEnvironment reports whether an environment has the image when it is rendered.
func (p *planner) judgeEnvironment(ctx context.Context, env *root) (bool, error) {
	dir := path.Dir(env.name)
	if p.Build == nil {
		return true, p.guess(env)
	}
	if p.load(env.name).component() {
		p.edit.Unverified = append(p.edit.Unverified, Unverified{p.shown(env.name), "a component cannot be rendered alone, and nothing here uses it"})
		return true, p.guess(env)
	}
	out, err := p.Build(ctx, p.overlay(), dir)
	if err != nil {
		return true, p.notRendered(ctx, env, err)
	}
	v, err := p.inspect(p.shown(env.name), out)
	if err != nil {
		return false, err
	}
	if len(v.wrong) > 0 {
		if err := p.pin(env.name, v.wrong); err != nil {
			return false, err
		}
		if out, err = p.Build(ctx, p.overlay(), dir); err != nil {
			return false, fmt.Errorf("the edit would break the kustomization %s: %w", p.shown(dir), err)
		}
		if v, err = p.inspect(p.shown(env.name), out); err != nil {
			return false, err
		}
	}
	if len(v.wrong) > 0 {
		return false, p.overruled(env, v)
	}
	p.edit.Remaining = append(p.edit.Remaining, v.elsewhere...)
	p.given = p.given || v.right > 0
	return v.right > 0, nil
}

// notRendered decides what it means that an environment cannot be rendered: nothing, if it could not be before.
func (p *planner) notRendered(ctx context.Context, env *root, err error) error {
	dir := path.Dir(env.name)
	if !errors.Is(err, ErrNotRendered) {
		if _, before := p.Build(ctx, p.fsys, dir); before == nil {
			return fmt.Errorf("the edit would break the kustomization %s: %w", p.shown(dir), err)
		}
	}
	reason := strings.Join(strings.Fields(err.Error()), " ") // kustomize prints whole configurations
	p.edit.Unverified = append(p.edit.Unverified, Unverified{p.shown(env.name), reason})
	return p.guess(env)
}

// overruled says what stands against the entries of an environment.
func (p *planner) overruled(env *root, v *verdict) error {
	root := p.load(env.name).root
	var later []string
	for _, key := range []string{"replacements", "vars", "transformers"} {
		if edit.At(root, key) != nil {
			later = append(later, key)
		}
	}
	why := "something sets it after images: is applied"
	if len(later) > 0 {
		why = strings.Join(later, " and ") + " run after images:"
	}
	return fmt.Errorf("%s: kustomize build would still give %s: %s; nothing was changed: set the image where it comes from",
		p.shown(env.name), v.where[0], why)
}

// verdict is what a rendered environment says.
type verdict struct {
	right     int
	wrong     []string // repositories of containers that are meant and do not have the image
	where     []string // the references and objects of wrong
	elsewhere []Remaining
}

// inspect searches what a file is rendered to for the image.
func (p *planner) inspect(shown string, out []byte) (*verdict, error) {
	u, err := edit.Read("rendered.yaml", shown, out, edit.Reading{Traces: p.traces})
	if err != nil {
		return nil, fmt.Errorf("what %s is rendered to cannot be read: %w", shown, err)
	}
	v := &verdict{}
	for _, r := range u.References(p.want) {
		switch {
		case !r.Meant:
		case r.Right || same(r.Image, p.want.Image()):
			v.right++
		case r.Embedded:
		case !r.Container:
			v.elsewhere = append(v.elsewhere, Remaining{File: shown, Key: "rendered: " + r.Object, Text: r.Image.String()})
		case !slices.Contains(v.wrong, r.Image.Repository):
			v.wrong = append(v.wrong, r.Image.Repository)
			v.where = append(v.where, fmt.Sprintf("%s in %s", r.Image, r.Object))
		}
	}
	return v, nil
}

// same reports whether two references are one image: Docker Hub's may be written with its host or without. Where both have
// the same digest, one of them may lack the tag: a runtime pulls by the digest.
func same(a, b ref.Ref) bool {
	tag := a.Tag == b.Tag || a.Digest != "" && (a.Tag == "" || b.Tag == "")
	return a.SameRepository(b) && a.Digest == b.Digest && tag
}

// overlay is the file system with the edits made, unless unedited is set.
func (p *planner) overlay() fs.FS {
	files := map[string][]byte{}
	for name, r := range p.results {
		if r != nil && len(r.Changes) > 0 && !p.unedited {
			files[name] = r.Content
		}
	}
	return overlayFS{p.fsys, files}
}

// overlayFS is a file system with some files replaced.
type overlayFS struct {
	fs.FS
	files map[string][]byte
}

// Open implements fs.FS.
func (o overlayFS) Open(name string) (fs.File, error) {
	if content, edited := o.files[name]; edited {
		return &memoryFile{memoryInfo{path.Base(name), int64(len(content))}, bytes.NewReader(content)}, nil
	}
	return o.FS.Open(name)
}

// ReadDir implements fs.ReadDirFS: edits add and remove no file.
func (o overlayFS) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(o.FS, name) }

// Stat implements fs.StatFS.
func (o overlayFS) Stat(name string) (fs.FileInfo, error) {
	if content, edited := o.files[name]; edited {
		return memoryInfo{path.Base(name), int64(len(content))}, nil
	}
	return fs.Stat(o.FS, name)
}

// ReadLink implements fs.ReadLinkFS.
func (o overlayFS) ReadLink(name string) (string, error) { return fs.ReadLink(o.FS, name) }

// Lstat implements fs.ReadLinkFS.
func (o overlayFS) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(o.FS, name) }

type memoryFile struct {
	memoryInfo
	*bytes.Reader
}

// Size resolves the two that are embedded.
func (f *memoryFile) Size() int64                { return f.memoryInfo.size }
func (f *memoryFile) Stat() (fs.FileInfo, error) { return f.memoryInfo, nil }
func (f *memoryFile) Close() error               { return nil }

type memoryInfo struct {
	name string
	size int64
}

// Name implements fs.FileInfo.
func (i memoryInfo) Name() string       { return i.name }
func (i memoryInfo) Size() int64        { return i.size }
func (i memoryInfo) Mode() fs.FileMode  { return 0o644 }
func (i memoryInfo) ModTime() time.Time { return time.Time{} }
func (i memoryInfo) IsDir() bool        { return false }
func (i memoryInfo) Sys() any           { return nil }
