package dockerfile

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestArguments(t *testing.T) {
	f := Parse([]byte(`ARG BASE=debian
ARG TAG
FROM ${BASE}:${TAG} AS one
ARG FIRST=1 SECOND
ENV KEPT=yes
FROM other AS aside
ARG ELSEWHERE
FROM one
ARG VERSION=1
ARG PATHS
ARG OLD
ENV SET="a b" PATHS=/b:$PATHS
ENV OLD way of writing it
`))
	names, base, err := f.Arguments("", map[string]string{"TAG": "trixie"}, "")
	require.NoError(t, err)
	assert.Equal(t, []string{"FIRST", "SECOND", "VERSION"}, names)
	assert.Equal(t, "debian:trixie", base)

	names, _, err = f.Arguments("one", nil, "")
	require.NoError(t, err)
	assert.Equal(t, []string{"FIRST", "SECOND"}, names)

	_, base, err = Parse([]byte("FROM ${NOWHERE}\n")).Arguments("", nil, "")
	require.NoError(t, err)
	assert.Empty(t, base, "which image that is cannot be read")
	_, base, err = Parse([]byte("FROM scratch\nARG A\n")).Arguments("", nil, "")
	require.NoError(t, err)
	assert.Empty(t, base)
	_, _, err = f.Arguments("nowhere", nil, "")
	assert.Error(t, err)
}
