package gitops

import (
	"bytes"
	"slices"

	"github.com/pmezard/go-difflib/difflib"
)

// reverseLines takes the step from before to after back from now, as `git revert` does. It reports whether that can be
// done: whether now still has the lines that the step made.
func reverseLines(now, after, before []byte) ([]byte, bool) {
	nowLines, afterLines, beforeLines := lines(now), lines(after), lines(before)
	steps := opcodes(afterLines, beforeLines)
	since := opcodes(afterLines, nowLines)
	out := slices.Clone(nowLines)
	for _, step := range slices.Backward(steps) { // backward, so that the indexes of the steps to come stay valid
		if step.Tag == 'e' {
			continue
		}
		kept := slices.IndexFunc(since, func(s difflib.OpCode) bool { return s.Tag == 'e' && s.I1 <= step.I1 && step.I2 <= s.I2 })
		if kept < 0 {
			return nil, false
		}
		moved := since[kept].J1 - since[kept].I1
		out = slices.Replace(out, step.I1+moved, step.I2+moved, beforeLines[step.J1:step.J2]...)
	}
	var b bytes.Buffer
	for _, line := range out {
		b.WriteString(line)
	}
	return b.Bytes(), true
}

func opcodes(a, b []string) []difflib.OpCode {
	return difflib.NewMatcherWithJunk(a, b, false, nil).GetOpCodes()
}

// lines splits content after each newline.
func lines(content []byte) []string {
	var out []string
	for line := range bytes.Lines(content) {
		out = append(out, string(line))
	}
	return out
}
