package report

import (
	"cmp"
	"slices"
	"strings"
)

// Scrubber replaces secrets in texts. The zero value knows none.
type Scrubber struct {
	Secrets  []string // as they were given
	replacer *strings.Replacer
}

const mask = "***"

// NewScrubber returns a scrubber for secrets. The lines of a secret of several lines are secrets, too. A secret that is too short to
// be hidden stays: see [Maskable].
func NewScrubber(plain []string) Scrubber {
	var all []string
	for _, s := range plain {
		all = append(all, s)
		// Output comes line by line, so each line of a long secret is one.
		if lines := strings.Split(strings.TrimSpace(s), "\n"); len(lines) > 1 {
			for _, l := range lines {
				if l = strings.TrimSpace(l); len(l) >= minSecretLine {
					all = append(all, l)
				}
			}
		}
		all = append(all, strings.TrimSpace(s))
	}
	all = slices.DeleteFunc(all, func(s string) bool { return !Maskable(s) })
	// The longest first: a secret may begin with another.
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var pairs []string
	for _, s := range slices.Compact(all) {
		pairs = append(pairs, s, mask)
	}
	return Scrubber{Secrets: plain, replacer: strings.NewReplacer(pairs...)}
}

// minSecretLine is the shortest line of a secret of several lines that is hidden by itself: hiding "}" everywhere helps
// nobody.
const minSecretLine = 8

// Text returns text without the secrets.
func (s Scrubber) Text(text string) string {
	if s.replacer == nil {
		return text
	}
	return s.replacer.Replace(text)
}
