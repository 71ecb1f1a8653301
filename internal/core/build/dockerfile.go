package build

import (
	"regexp"
	"strings"
)

var (
	argInstruction = regexp.MustCompile(`(?i)^\s*ARG\s+(.*)$`)
	escapeLine     = regexp.MustCompile("(?i)^#\\s*escape\\s*=\\s*`\\s*$")
	directiveLine  = regexp.MustCompile(`^#\s*\w+\s*=`)
	heredoc        = regexp.MustCompile(`<<-?\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?`)
)

// declaredArgs returns the names that a Dockerfile declares with ARG, in whichever stage.
//
// The grammar is that of https://docs.docker.com/reference/dockerfile/: an instruction goes on after a line that ends in
// the escape character, comments inside it are skipped, and here-documents are not instructions.
func declaredArgs(dockerfile []byte) map[string]bool {
	names := map[string]bool{}
	escape, directives := `\`, true
	instruction, terminators := "", []string(nil)
	for line := range strings.Lines(string(dockerfile)) {
		line = strings.TrimRight(line, " \t\r\n")
		if len(terminators) > 0 {
			if strings.TrimLeft(line, "\t") == terminators[0] {
				terminators = terminators[1:]
			}
			continue
		}
		if directives = directives && directiveLine.MatchString(line); directives && escapeLine.MatchString(line) {
			escape = "`"
		}
		if strings.HasPrefix(strings.TrimSpace(line), "#") || instruction != "" && line == "" {
			continue
		}
		if before, more := strings.CutSuffix(line, escape); more {
			instruction += before + " "
			continue
		}
		instruction += line
		for _, m := range heredoc.FindAllStringSubmatch(instruction, -1) {
			terminators = append(terminators, m[1])
		}
		if m := argInstruction.FindStringSubmatch(instruction); m != nil {
			for _, word := range strings.Fields(m[1]) {
				name, _, _ := strings.Cut(word, "=")
				names[name] = true
			}
		}
		instruction = ""
	}
	return names
}
