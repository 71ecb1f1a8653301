package main

import (
	"context"

	sdk "dagger.io/dagger"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// The module has types that Dagger generates for it, and package build uses those of the SDK. Both speak to one session,
// so an ID of one is valid for the other.

// toSDK returns an object of the module as one of the SDK.
func toSDK[T sdk.Loadable[T]](ctx context.Context, client *sdk.Client, from interface {
	ID(context.Context) (dagger.ID, error)
}) (to T, err error) {
	id, err := from.ID(ctx)
	if err != nil {
		return to, err
	}
	return sdk.Ref[T](client, sdk.ID(id)), nil
}

// fromSDK returns an object of the SDK as one of the module.
func fromSDK[T dagger.Loadable[T]](ctx context.Context, from interface {
	ID(context.Context) (sdk.ID, error)
}) (to T, err error) {
	id, err := from.ID(ctx)
	if err != nil {
		return to, err
	}
	return dagger.Ref[T](dag, dagger.ID(id)), nil
}
