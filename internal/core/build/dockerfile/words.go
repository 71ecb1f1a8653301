package dockerfile

import (
	"regexp"
	"strings"
)

// spaces makes one kind of the space between words.
var spaces = strings.NewReplacer("\t", " ", "\v", " ", "\f", " ", "\r", " ")

// nextFlag returns the flag that an instruction's arguments begin with, without its quotes, and what follows it.
func nextFlag(text string, escape byte) (flag, rest string) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == escape && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && c == ' ':
			return b.String(), strings.TrimSpace(text[i:])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// heredoc is the beginning of a here-document.
type heredoc struct {
	end  string // the line that ends it
	tabs bool   // tabs before that line count for nothing
}

// endsWith reports whether a line ends the document.
func (h heredoc) endsWith(line string) bool {
	line = strings.TrimRight(line, "\r\n")
	if h.tabs {
		line = strings.TrimLeft(line, "\t")
	}
	return line == h.end
}

// heredocWord is a word that begins a here-document, with the shell's quotes: a shift in an arithmetic expression is none.
var heredocWord = regexp.MustCompile(`^\d*<<(-?)([^<]+)$`)

// heredocs returns the here-documents of an instruction, in their order.
func heredocs(instruction string) (found []heredoc) {
	if !hasDocuments.MatchString(instruction) {
		return nil
	}
	for _, word := range shellWords(instruction) {
		if m := heredocWord.FindStringSubmatch(word); m != nil {
			found = append(found, heredoc{end: unquoted(m[2]), tabs: m[1] != ""})
		}
	}
	return found
}

// shellWords splits a line as a shell does. Quotes and escape characters stay in the words. There are no words where a quote
// has no end.
func shellWords(line string) (words []string) {
	begins := -1
	for i := 0; i <= len(line); i++ {
		if i == len(line) || strings.IndexByte(" \t\v\f\r\n", line[i]) >= 0 {
			if begins >= 0 {
				words, begins = append(words, line[begins:i]), -1
			}
			continue
		}
		if begins < 0 {
			begins = i
		}
		end := quotedEnd(line, i)
		if end < 0 {
			return nil
		}
		i = end
	}
	return words
}

// quotedEnd returns the index of the last byte of the character, or of the quoted text, at index i; -1 where a quote has no end.
func quotedEnd(line string, i int) int {
	switch quote := line[i]; quote {
	case '\\':
		return min(i+1, len(line)-1)
	case '\'', '"':
		for j := i + 1; j < len(line); j++ {
			switch {
			case line[j] == quote:
				return j
			case line[j] == '\\' && quote == '"':
				j++
			}
		}
		return -1
	}
	return i
}

// unquoted returns a word without quotes and escape characters.
func unquoted(word string) string {
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		end := quotedEnd(word, i)
		switch {
		case end <= i:
			b.WriteByte(word[i])
			continue
		case word[i] == '\\':
			b.WriteByte(word[end])
		default:
			b.WriteString(word[i+1 : end])
		}
		i = end
	}
	return b.String()
}
