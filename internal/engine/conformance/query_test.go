package conformance

import (
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// query judges what the SDK makes of GraphQL: lazy chains, IDs, nodes, errors.
func (r *rig) query(t *testing.T) {
	t.Run("NothingRunsBeforeALeaf", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		failing := r.fresh().WithExec(bash("exit 1"))
		_, err := failing.ID(ctx)
		require.NoError(t, err, "asking for the ID of a container")
		_, err = failing.Directory("/etc").ID(ctx)
		require.NoError(t, err, "asking for the ID of a directory")
		_, err = failing.Sync(ctx)
		require.Error(t, err)
	})

	t.Run("IDIsTheObject", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.fresh().WithExec(bash(printRun))
		want, err := c.Stdout(ctx)
		require.NoError(t, err)
		id, err := c.ID(ctx)
		require.NoError(t, err)
		got, err := dagger.Ref[*dagger.Container](r.Client, id).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		loaded, err := dagger.Load[*dagger.Container](ctx, r.Client, id)
		require.NoError(t, err)
		got, err = loaded.Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})

	t.Run("IDOfAnotherType", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		id, err := r.base().ID(ctx)
		require.NoError(t, err)
		_, err = dagger.Load[*dagger.Directory](ctx, r.Client, id)
		assert.Error(t, err)
	})

	t.Run("NotAnID", func(t *testing.T) {
		t.Parallel()
		_, err := dagger.Ref[*dagger.Container](r.Client, "none").Stdout(within(t))
		assert.Error(t, err)
	})

	t.Run("SyncReturnsTheObject", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c, err := r.fresh().WithExec(bash(printRun + " | tee /run-id")).Sync(ctx)
		require.NoError(t, err)
		want, err := c.Stdout(ctx)
		require.NoError(t, err)
		f, err := c.File("/run-id").Sync(ctx)
		require.NoError(t, err)
		got, err := f.Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		d, err := c.Directory("/").Sync(ctx)
		require.NoError(t, err)
		got, err = d.File("run-id").Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})

	t.Run("ObjectsAsArguments", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		made := r.fresh().WithExec(bash("mkdir /made; echo text > /made/file")).Directory("/made")
		out, err := r.base().WithDirectory("/copied", made).WithMountedDirectory("/mounted", made).
			WithExec(bash("cat /copied/file /mounted/file")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "text\ntext\n", out)
	})

	t.Run("UnknownField", func(t *testing.T) {
		t.Parallel()
		err := r.Do(within(t), &dagger.Request{Query: "{container{noSuchField}}"}, &dagger.Response{Data: new(any)})
		assert.ErrorContains(t, err, "noSuchField")
	})

	t.Run("UnknownArgument", func(t *testing.T) {
		t.Parallel()
		err := r.Do(within(t), &dagger.Request{Query: "{container{from(noSuchArgument:1){id}}}"}, &dagger.Response{Data: new(any)})
		assert.ErrorContains(t, err, "noSuchArgument")
	})

	t.Run("NoSuchImage", func(t *testing.T) {
		t.Parallel()
		const ref = "127.0.0.1:9/no/such:image"
		_, err := r.Container().From(ref).WithExec([]string{"true"}).Sync(within(t))
		assert.ErrorContains(t, err, ref)
	})
}
