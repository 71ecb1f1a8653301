package gitops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/git"
)

// Rollback undoes the commit that set the image which the branch has now, by a new commit. With To, it undoes all commits
// since To that set the image. What others changed in the meantime is kept.
func Rollback(ctx context.Context, o RollbackOptions) (*Result, error) {
	// Only the repository is needed to find the references. A target must have a tag to be valid.
	if image := ref.Read(o.Target.Image); image.Tag == "" && image.Digest == "" {
		o.Target.Image += ":any"
	}
	if err := o.Target.Validate(); err != nil {
		return nil, fault.Usage(err)
	}
	return o.land(ctx, func(c *git.Clone, base *object.Commit) (*edit, error) {
		r := &reverter{RollbackOptions: o, clone: c, base: base, repository: ref.Read(o.Target.Image)}
		return r.plan(ctx)
	})
}

// reverter is one attempt to roll back on a tip of the branch.
type reverter struct {
	RollbackOptions
	clone      *git.Clone
	base       *object.Commit
	repository ref.Ref
}

// undone is a commit to be undone, in some of its files.
type undone struct {
	commit, parent *object.Commit
	files          []string
}

// plan returns the commit that brings earlier images back.
func (r *reverter) plan(ctx context.Context) (*edit, error) {
	history, err := r.clone.History(r.base.Hash)
	if err != nil {
		return nil, err
	}
	todo, err := r.find(ctx, history)
	if err != nil || len(todo) == 0 {
		return nil, err
	}
	contents := map[string][]byte{}
	for _, u := range todo {
		for _, file := range u.files {
			if _, done := contents[file]; !done {
				if contents[file], _, err = contentAt(r.clone, r.base, file); err != nil {
					return nil, err
				}
			}
			if contents[file], err = r.undo(u, file, contents[file]); err != nil {
				return nil, err
			}
		}
	}
	e := &edit{files: map[string][]byte{}}
	for _, file := range slices.Sorted(maps.Keys(contents)) {
		now, _, err := contentAt(r.clone, r.base, file)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(now, contents[file]) {
			continue
		}
		e.files[file] = contents[file]
		e.changes = append(e.changes, change(file, now, contents[file]))
	}
	if len(e.files) == 0 {
		return nil, nil
	}
	text := r.Message
	if text == "" {
		text = rollbackMessage
	}
	restored := r.BumpOptions
	restored.Target.Image = e.changes[0].To
	if _, err := ref.Parse(restored.Target.Image); err != nil {
		restored.Target.Image = r.repository.Repository
	}
	e.message, err = restored.message(text+"\n\n"+revertsSentence+todo[0].commit.Hash.String()+".", e.changes)
	return e, err
}

// find returns the commits to undo, newest first.
func (r *reverter) find(ctx context.Context, history []*object.Commit) ([]undone, error) {
	last := len(history) - 1
	if r.To != "" {
		last = slices.IndexFunc(history, func(c *object.Commit) bool { return strings.HasPrefix(c.Hash.String(), r.To) })
		if last < 0 {
			return nil, fmt.Errorf("commit %s is not among the last %d of the branch: nothing was changed", r.To, len(history))
		}
	}
	at, err := r.imagesAt(ctx, r.base)
	if err != nil {
		return nil, err
	}
	known := len(at) > 0
	var todo []undone
	for i := 0; i < last && (r.To != "" || len(todo) == 0); i++ {
		commit, parent := history[i], history[i+1]
		if commit.TreeHash == parent.TreeHash {
			continue
		}
		before, err := r.imagesAt(ctx, parent)
		if err != nil {
			continue // the manifests were not valid then
		}
		files := at.differences(before)
		at = before
		if len(files) == 0 && r.sets(commit) {
			// The commit set the image in a place that is found by another name, or that names no image: a Flux policy, a tag.
			if files, err = r.changedBelowPath(commit, parent); err != nil {
				return nil, err
			}
		}
		known = known || len(files) > 0
		if len(files) > 0 {
			todo = append(todo, undone{commit, parent, files})
		}
	}
	if len(todo) > 0 && r.To == "" && !r.existed(todo[0]) {
		return nil, fmt.Errorf("commit %.10s brought the image to %s: there is nothing before it to go back to", todo[0].commit.Hash, pathOrRoot(r.Path))
	}
	switch {
	case len(todo) > 0 || r.To != "" && known:
		return todo, nil
	case !known:
		return nil, fmt.Errorf("no image of %s in %s of branch %s: nothing to roll back: if the manifests name it otherwise, give that name with --replace",
			r.repository.Repository, pathOrRoot(r.Path), r.Branch)
	}
	return nil, fmt.Errorf("the last %d commits of the branch did not set the image of %s in %s: name the commit to go back to with --to",
		len(history), r.repository.Repository, pathOrRoot(r.Path))
}

// images are the references that the target names, by file.
type images map[string][]manifest.Seen

func (r *reverter) imagesAt(ctx context.Context, commit *object.Commit) (images, error) {
	tree, err := r.clone.Tree(commit)
	if err != nil {
		return nil, err
	}
	seen, err := manifest.Find(ctx, tree, pathOrRoot(r.Path), r.Target)
	if err != nil {
		return nil, err
	}
	found := images{}
	for _, s := range seen {
		found[s.File] = append(found[s.File], s)
	}
	return found, nil
}

// differences returns the files whose images differ, in order.
func (i images) differences(other images) []string {
	var files []string
	for file, seen := range i {
		if !slices.EqualFunc(seen, other[file], func(a, b manifest.Seen) bool { return a.Image == b.Image }) {
			files = append(files, file)
		}
	}
	for file := range other {
		if _, both := i[file]; !both {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	return files
}

// sets reports whether a commit says that it sets an image of the repository.
func (r *reverter) sets(commit *object.Commit) bool {
	return slices.ContainsFunc(messages(r.clone, commit), func(message string) bool {
		image := imageTrailer(message)
		return image != "" && ref.Read(image).SameRepository(r.repository)
	})
}

func (r *reverter) changedBelowPath(commit, parent *object.Commit) ([]string, error) {
	files, err := r.clone.Changed(parent, commit)
	top := pathOrRoot(r.Path)
	return slices.DeleteFunc(files, func(file string) bool {
		return top != "." && file != top && !strings.HasPrefix(file, top+"/")
	}), err
}

// existed reports whether one of the files was there before the commit.
func (r *reverter) existed(u undone) bool {
	return slices.ContainsFunc(u.files, func(file string) bool {
		_, found, err := contentAt(r.clone, u.parent, file)
		return err == nil && found
	})
}

// undo takes what a commit did to a file back from content, which is what came of the file since. The result is valid
// YAML, and has the images of content with those that the commit set replaced by those before it.
func (r *reverter) undo(u undone, file string, content []byte) ([]byte, error) {
	after, there, err := contentAt(r.clone, u.commit, file)
	if err != nil {
		return nil, err
	}
	before, existed, err := contentAt(r.clone, u.parent, file)
	if err != nil {
		return nil, err
	}
	conflict := fmt.Errorf("%s was changed after commit %.10s in a way that the rollback cannot be applied to: edit it by hand", file, u.commit.Hash)
	if !there || !existed || content == nil {
		return nil, conflict
	}
	if bytes.Equal(after, content) {
		return before, nil
	}
	if merged, ok := reverseLines(content, after, before); ok && undoes(file, content, after, before, merged) {
		return merged, nil
	}
	// The lines were changed since. If all references were one image, that can be set again.
	target := manifest.Target{Replace: append(slices.Clone(r.Target.Replace), r.repository.Repository)}
	earlier, err := manifest.Set(file, before, manifest.Target{Image: r.Target.Image, Replace: r.Target.Replace})
	if err != nil {
		return nil, conflict
	}
	for _, seen := range earlier.Seen {
		if seen.Matched && target.Image != "" && target.Image != seen.Image {
			return nil, conflict
		} else if seen.Matched {
			target.Image = seen.Image
		}
	}
	if target.Validate() != nil {
		return nil, conflict
	}
	again, err := manifest.Set(file, content, target)
	if err != nil {
		return nil, err
	}
	return again.Content, nil
}

// undoes reports whether merged is valid, and has the images of now, less those of after, plus those of before.
func undoes(file string, now, after, before, merged []byte) bool {
	count := map[string]int{}
	for _, part := range []struct {
		content []byte
		sign    int
	}{{now, 1}, {after, -1}, {before, 1}, {merged, -1}} {
		seen, err := references(file, part.content)
		if err != nil {
			return false
		}
		for _, s := range seen {
			count[s.Image] += part.sign
		}
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// references returns all image references in a file.
func references(file string, content []byte) ([]manifest.Seen, error) {
	r, err := manifest.Set(file, content, manifest.Target{Image: "aksflow.invalid/none:none"})
	if err != nil {
		return nil, err
	}
	return r.Seen, nil
}

// change returns the first difference between two contents of a file, as images if they are in known places, and as lines
// else.
func change(file string, before, after []byte) manifest.Change {
	from, _ := references(file, before)
	to, _ := references(file, after)
	gone, came := lacking(from, to), lacking(to, from)
	if len(gone)+len(came) > 0 {
		c := manifest.Change{File: file}
		for i, s := range came {
			c.To = strings.TrimPrefix(c.To+", "+s.Image, ", ")
			if i == 0 {
				c.Line = s.Line
			}
		}
		for _, s := range gone {
			c.From = strings.TrimPrefix(c.From+", "+s.Image, ", ")
			if c.Line == 0 {
				c.Line = s.Line
			}
		}
		return c
	}
	old, changed := strings.Split(string(before), "\n"), strings.Split(string(after), "\n")
	for i := range changed {
		if i >= len(old) || old[i] != changed[i] {
			return manifest.Change{File: file, Line: i + 1, From: strings.TrimSpace(strings.Join(old[min(i, len(old)):min(i+1, len(old))], "")), To: strings.TrimSpace(changed[i])}
		}
	}
	return manifest.Change{File: file, Line: len(changed)}
}

// lacking returns the references whose image other does not have, each image once.
func lacking(seen, other []manifest.Seen) []manifest.Seen {
	var out []manifest.Seen
	for _, s := range seen {
		same := func(o manifest.Seen) bool { return o.Image == s.Image }
		if !slices.ContainsFunc(other, same) && !slices.ContainsFunc(out, same) {
			out = append(out, s)
		}
	}
	return out
}

// contentAt returns a file at a commit, and whether it is there.
func contentAt(c *git.Clone, commit *object.Commit, file string) ([]byte, bool, error) {
	tree, err := c.Tree(commit)
	if err != nil {
		return nil, false, err
	}
	content, err := fs.ReadFile(tree, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return content, err == nil, err
}
