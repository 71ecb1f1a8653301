package build

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReportsOfTestsHideSecrets(t *testing.T) {
	const secret = "hunter2-hunter2"
	r := &runner{name: Unit, suite: &Suite{}, hide: strings.NewReplacer(secret, "***").Replace, result: &SuiteResult{}}
	e := &ended{code: 1, reports: map[string][]byte{}}
	r.read(e, "report.xml", `<testsuite><testcase classname="a" name="b"><failure message="wrong password hunter2-hunter2">hunter2-hunter2 is refused</failure></testcase></testsuite>`)
	r.conclude(e)
	require.Len(t, r.result.Cases, 1)
	assert.Equal(t, "wrong password ***", r.result.Cases[0].Message)
	assert.NotContains(t, r.result.Cases[0].Detail, secret)
	assert.NotContains(t, string(r.result.Reports["unit-report.xml"]), secret)
}
