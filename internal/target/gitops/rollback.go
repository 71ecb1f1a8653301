package gitops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
)

const rollbackMessage = `Roll back {{.Name}}{{if ne .Path "."}} in {{.Path}}{{end}}

{{range .Changes}}{{.File}}:{{.Line}}: {{.From}} -> {{with .To}}{{.}}{{else}}(not set){{end}}
{{end}}`

// Rollback reverts the commit that set the image which the branch has now, as a new commit. With To, the images of that
// commit come back.
func Rollback(ctx context.Context, o RollbackOptions) (*Result, error) {
	// Only the repository counts for finding the references; the tag makes it a target that can be matched.
	if image := ref.Read(o.Target.Image); image.Tag == "" && image.Digest == "" {
		o.Target.Image += ":latest"
	}
	if err := o.Target.Validate(); err != nil {
		return nil, fault.Usage(err)
	}
	return o.land(ctx, func(c *clone, base *object.Commit) (*edit, error) { return o.revert(ctx, c, base) })
}

// images are the references at a path that a target names, by file.
type images map[string][]manifest.Seen

// imagesAt reads the references of a commit.
func (o BumpOptions) imagesAt(ctx context.Context, c *clone, commit *object.Commit) (images, error) {
	tree, err := newTreeFS(c.store, commit)
	if err != nil {
		return nil, err
	}
	seen, err := manifest.Find(ctx, tree, pathOrRoot(o.Path), o.Target)
	if err != nil {
		return nil, err
	}
	found := images{}
	for _, s := range seen {
		found[s.File] = append(found[s.File], s)
	}
	return found, nil
}

func (i images) equal(other images) bool {
	if len(i) != len(other) {
		return false
	}
	for file, seen := range i {
		if !slices.EqualFunc(seen, other[file], func(a, b manifest.Seen) bool { return a.Image == b.Image }) {
			return false
		}
	}
	return true
}

// revert plans the commit that brings earlier images back.
func (o RollbackOptions) revert(ctx context.Context, c *clone, base *object.Commit) (*edit, error) {
	history, err := c.history(base.Hash)
	if err != nil {
		return nil, err
	}
	present, err := o.imagesAt(ctx, c, base)
	if err != nil {
		return nil, err
	}
	if len(present) == 0 {
		return nil, fmt.Errorf("no image of %s in %s of branch %s: nothing to roll back", o.Target.Image, pathOrRoot(o.Path), o.Branch)
	}
	var bump, before *object.Commit
	var earlier images
	for i, commit := range history[1:] {
		if o.To != "" && !strings.HasPrefix(commit.Hash.String(), o.To) {
			continue
		}
		if earlier, err = o.imagesAt(ctx, c, commit); err != nil && o.To != "" {
			return nil, err
		}
		if o.To != "" || !earlier.equal(present) {
			bump, before = history[i], commit
			break
		}
	}
	switch {
	case before == nil && o.To != "":
		return nil, fmt.Errorf("commit %s is not among the last %d of the branch: nothing was changed", o.To, len(history))
	case before == nil:
		return nil, fmt.Errorf("the last %d commits of the branch set no image of %s in %s: name the commit to go back to", len(history), o.Target.Image, pathOrRoot(o.Path))
	}
	if o.To == "" && !o.existed(c, before, present) {
		return nil, fmt.Errorf("commit %.10s brought the image to %s: there is nothing before it to go back to", bump.Hash, pathOrRoot(o.Path))
	}

	e := &edit{}
	for file, seen := range present {
		if slices.EqualFunc(seen, earlier[file], func(a, b manifest.Seen) bool { return a.Image == b.Image }) {
			continue
		}
		content, err := o.reverted(c, base, bump, before, file, earlier[file])
		if err != nil {
			return nil, err
		}
		e.files = append(e.files, manifest.File{Path: file, Content: content})
		from, to := distinct(seen), distinct(earlier[file]) // none where the base's image comes back
		e.changes = append(e.changes, manifest.Change{File: file, Line: seen[0].Line, From: strings.Join(from, ", "), To: strings.Join(to, ", ")})
	}
	if len(e.files) == 0 {
		return nil, nil
	}
	slices.SortFunc(e.files, func(a, b manifest.File) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(e.changes, func(a, b manifest.Change) int { return strings.Compare(a.File, b.File) })
	text := o.Message
	if text == "" {
		text = rollbackMessage
	}
	reverts := "\n\n" + revertsSentence + bump.Hash.String() + "."
	restored := o.BumpOptions
	restored.Target.Image = cmp.Or(e.changes[0].To, ref.Read(o.Target.Image).Repository)
	e.message, err = restored.message(text+reverts, e.changes)
	return e, err
}

// existed tells whether one of the files was there at a commit, with the image or, as a kustomization that pinned none
// yet, without.
func (o RollbackOptions) existed(c *clone, commit *object.Commit, files images) bool {
	for file := range files {
		if _, err := blobAt(c, commit, file); err == nil {
			return true
		}
	}
	return false
}

// reverted is a file's content with its earlier images. If nothing else touched the file since, it is the earlier file;
// otherwise only the images are set back, which needs them to be one image still.
func (o RollbackOptions) reverted(c *clone, base, bump, before *object.Commit, file string, earlier []manifest.Seen) ([]byte, error) {
	now, err := blobAt(c, base, file)
	if err != nil {
		return nil, err
	}
	then, err := blobAt(c, bump, file)
	if err != nil && !errors.Is(err, object.ErrFileNotFound) {
		return nil, err
	}
	if o.To == "" && then != nil && then.Hash == now.Hash {
		old, err := blobAt(c, before, file)
		if err == nil {
			return contents(old)
		}
	}
	conflict := fmt.Errorf("%s was changed after commit %.10s in a way that the rollback cannot be applied to: edit it by hand", file, bump.Hash)
	back := distinct(earlier)
	if len(back) != 1 {
		return nil, conflict
	}
	content, err := contents(now)
	if err != nil {
		return nil, err
	}
	target := manifest.Target{Image: back[0], Replace: append(slices.Clone(o.Target.Replace), ref.Read(o.Target.Image).Repository)}
	if target.Validate() != nil {
		return nil, conflict
	}
	r, err := manifest.Set(file, content, target)
	if err != nil {
		return nil, err
	}
	return r.Content, nil
}

func blobAt(c *clone, commit *object.Commit, file string) (*object.File, error) {
	tree, err := object.GetTree(c.store, commit.TreeHash)
	if err != nil {
		return nil, err
	}
	f, err := tree.File(file)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, object.ErrFileNotFound
	}
	return f, err
}

func contents(f *object.File) ([]byte, error) {
	text, err := f.Contents()
	return []byte(text), err
}

// distinct returns the images of references, each once, in their order.
func distinct(seen []manifest.Seen) []string {
	var out []string
	for _, s := range seen {
		if !slices.Contains(out, s.Image) {
			out = append(out, s.Image)
		}
	}
	return out
}
