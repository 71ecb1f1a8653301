// Package dev runs work again whenever files change: it watches a work tree, waits until a save is complete, and runs one
// round of work for it. What a round does is the caller's.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/aksflow/aksflow/internal/core/report"
)

// quiet is how long nothing more must change until a save counts as complete: editors write a file in several steps, and
// a change of branch writes many.
const quiet = 100 * time.Millisecond

// mostWait bounds how long a save is waited for that does not end, such as a program that writes all the time.
const mostWait = 2 * time.Second

// Save is a set of changes that belong together.
type Save struct {
	// Began is when the first change was seen.
	Began time.Time
	// Files are the absolute paths of what changed, sorted. Nil means that it is not known: anything may have changed.
	Files []string
	// First reports that it is no save, but the state that a Loop begins with.
	First bool
}

// join returns both saves as one.
func (s Save) join(later Save) Save {
	if s.Began.IsZero() {
		return later
	}
	if s.Files == nil || later.Files == nil {
		return Save{Began: s.Began, First: s.First}
	}
	files := append(slices.Clone(s.Files), later.Files...)
	slices.Sort(files)
	return Save{Began: s.Began, Files: slices.Compact(files)}
}

// lookAgain is how often a directory is looked for that is gone, such as on a branch that does not have it.
const lookAgain = time.Second

// Watcher tells of changes of files below directories.
type Watcher struct {
	notify *fsnotify.Watcher
	scope  Scope
	dirs   []string
	skip   func(dir string) bool
	saves  chan Save
}

// Scope returns what is watched: directories with all that is below them. skip says which directories are left out, by their
// absolute paths; nil leaves out none.
type Scope func() (dirs []string, skip func(dir string) bool, err error)

// Watch begins to watch a scope. It asks for it again when a file changes that may decide on it; an error then leaves it as it
// is. Close ends it.
func Watch(ctx context.Context, scope Scope) (*Watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching for changes: %w", explain(err))
	}
	w := &Watcher{notify: notify, scope: scope, saves: make(chan Save)}
	if w.dirs, w.skip, err = scope(); err == nil {
		err = w.addAll()
	}
	if err != nil {
		return nil, errors.Join(err, notify.Close())
	}
	go w.run(ctx)
	return w, nil
}

// addAll watches what is in the scope. What is watched already stays so.
func (w *Watcher) addAll() error {
	for _, dir := range w.dirs {
		if err := w.add(dir, nil); err != nil {
			return err
		}
	}
	return nil
}

// decides reports whether a file may decide what is watched.
func decides(name string) bool {
	base := filepath.Base(name)
	return base == ".gitignore" || strings.HasSuffix(base, ".dockerignore") || strings.HasPrefix(base, "aksflow") && filepath.Ext(base) == ".yaml"
}

// follow asks for the scope again when a save may have changed it.
func (w *Watcher) follow(ctx context.Context, save Save) {
	if save.Files != nil && !slices.ContainsFunc(save.Files, decides) {
		return
	}
	if dirs, skip, err := w.scope(); err == nil { // else who works on the save says so
		w.dirs, w.skip = dirs, skip
	}
	if err := w.addAll(); err != nil && !w.gone() {
		report.Warn(ctx, "%v; changes there may be missed", err)
	}
}

// gone reports whether a directory of the scope is not there.
func (w *Watcher) gone() bool {
	return slices.ContainsFunc(w.dirs, func(dir string) bool {
		_, err := os.Stat(dir)
		return err != nil
	})
}

// Close ends the watching.
func (w *Watcher) Close() error { return w.notify.Close() }

// Saves delivers the changes. One that is not taken is joined with those after it.
func (w *Watcher) Saves() <-chan Save { return w.saves }

// add watches a directory and those below it. found is called for each file that is in them.
func (w *Watcher) add(root string, found func(string)) error {
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name != root:
			return nil // it went while it was looked at
		case err != nil:
			return fmt.Errorf("watching for changes: %w", err)
		case !d.IsDir():
			if found != nil {
				found(name)
			}
			return nil
		case d.Name() == ".git" || w.skip != nil && name != root && w.skip(name):
			return fs.SkipDir
		}
		if err := w.notify.Add(name); err != nil {
			if _, gone := os.Lstat(name); gone != nil && name != root {
				return nil
			}
			return fmt.Errorf("watching %s for changes: %w", name, explain(err))
		}
		return nil
	})
}

// explain adds what to do about the limits of the kernel.
func explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("%w: this machine allows no more watches; `sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512` allows more", err)
	}
	return err
}

// run gathers events into saves until the watcher is closed or ctx ends.
func (w *Watcher) run(ctx context.Context) {
	defer close(w.saves)
	var save Save
	var settled <-chan time.Time // save is complete then
	var deliver chan<- Save      // nil while there is nothing to deliver
	var back <-chan time.Time    // a directory may be back then
	for {
		select {
		case <-ctx.Done():
			return
		case event, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if back == nil && event.Has(fsnotify.Remove|fsnotify.Rename) && w.gone() {
				back = time.After(lookAgain)
			}
			files := w.seen(ctx, event)
			if len(files) == 0 {
				continue
			}
			save = save.join(Save{Began: time.Now(), Files: files})
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			report.Warn(ctx, "watching for changes: %v; anything may have changed", err)
			save = save.join(Save{Began: time.Now()})
		case <-back:
			if back = nil; w.gone() {
				back = time.After(lookAgain)
				continue
			}
			save = save.join(Save{Began: time.Now()})
		case <-settled:
			w.follow(ctx, save)
			settled, deliver = nil, w.saves
			continue
		case deliver <- save:
			save, deliver = Save{}, nil
			continue
		}
		settled, deliver = time.After(min(quiet, max(0, mostWait-time.Since(save.Began)))), nil
	}
}

// seen returns the files that an event is about. A directory that is new is watched from now on, and all that is in it by
// then is new, too.
func (w *Watcher) seen(ctx context.Context, event fsnotify.Event) []string {
	info, err := os.Lstat(event.Name)
	if err != nil || !info.IsDir() {
		return []string{event.Name}
	}
	if !event.Has(fsnotify.Create) || filepath.Base(event.Name) == ".git" || w.skip != nil && w.skip(event.Name) {
		return nil
	}
	files := []string{event.Name}
	if err := w.add(event.Name, func(name string) { files = append(files, name) }); err != nil {
		report.Warn(ctx, "%v; changes below %s may be missed", err, event.Name)
	}
	slices.Sort(files)
	return files
}
