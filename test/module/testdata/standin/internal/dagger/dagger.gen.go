// Package dagger stands in for the one that Dagger generates for the module: the same names for the SDK's own types.
package dagger

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"dagger.io/dagger"
)

type (
	Changeset = dagger.Changeset
	Container = dagger.Container
	Directory = dagger.Directory
	File      = dagger.File
	ID        = dagger.ID
	Secret    = dagger.Secret
	Service   = dagger.Service
	Socket    = dagger.Socket

	ContainerWithExecOpts  = dagger.ContainerWithExecOpts
	ContainerWithFileOpts  = dagger.ContainerWithFileOpts
	WorkspaceDirectoryOpts = dagger.WorkspaceDirectoryOpts
	WorkspaceFindUpOpts    = dagger.WorkspaceFindUpOpts

	Loadable[T any] = dagger.Loadable[T]
)

const ReturnTypeAny = dagger.ReturnTypeAny

// Client is the SDK's, with what only a module has.
type Client struct{ *dagger.Client }

// CurrentModule is the module that runs: this process.
func (c *Client) CurrentModule() *CurrentModule { return &CurrentModule{c} }

// CurrentModule stands in for the engine's.
type CurrentModule struct{ client *Client }

// WorkdirFile returns a file of the directory that this process runs in.
func (m *CurrentModule) WorkdirFile(name string) *File {
	full, err := filepath.Abs(name)
	if err != nil {
		panic(err)
	}
	return m.client.Host().File(full)
}

// Ref returns an object by its ID.
func Ref[T Loadable[T]](client *Client, id ID) T { return dagger.Ref[T](client.Client, id) }

// Workspace stands in for the engine's: a directory of this machine that a call is made in, and the repository around it.
// Files that git ignores are not left out.
type Workspace struct {
	Client *Client
	Root   string // of the repository; the directory itself where there is none
	Below  string // the directory, from Root
}

// path returns a path on this machine, of one that is absolute from the root or relative to the directory.
func (w *Workspace) path(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(w.Below, name)
	}
	return filepath.Join(w.Root, filepath.FromSlash(name))
}

func (w *Workspace) Directory(name string, opts ...WorkspaceDirectoryOpts) *Directory {
	var host dagger.HostDirectoryOpts
	for _, o := range opts {
		host.Include, host.Exclude = o.Include, o.Exclude
	}
	return w.Client.Host().Directory(w.path(name), host)
}

func (w *Workspace) File(name string) *File { return w.Client.Host().File(w.path(name)) }

func (w *Workspace) Path(context.Context) (string, error) { return w.Below, nil }

func (w *Workspace) FindUp(_ context.Context, name string, opts ...WorkspaceFindUpOpts) (string, error) {
	dir := path.Join("/", w.Below)
	for _, o := range opts {
		dir = path.Join(dir, o.From)
		if path.IsAbs(o.From) {
			dir = o.From
		}
	}
	for {
		if _, err := os.Stat(w.path(path.Join(dir, name))); err == nil {
			return path.Join(dir, name), nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == "/" {
			return "", nil
		}
		dir = path.Dir(dir)
	}
}
