// Package dagger stands in for the one that Dagger generates for the module: the same names for the SDK's own types.
package dagger

import "dagger.io/dagger"

type (
	Client    = dagger.Client
	Container = dagger.Container
	Directory = dagger.Directory
	File      = dagger.File
	ID        = dagger.ID
	Secret    = dagger.Secret
	Service   = dagger.Service
	Socket    = dagger.Socket

	Loadable[T any] = dagger.Loadable[T]
)

// Ref returns an object by its ID.
func Ref[T Loadable[T]](client *Client, id ID) T { return dagger.Ref[T](client, id) }
