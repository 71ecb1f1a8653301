// Package encoding reads the text of a file that may not be in UTF-8.
package encoding

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// UTF8 returns the text of a file, which PowerShell's redirection writes in UTF-16, in UTF-8, and reports whether it was
// in UTF-16. Text in UTF-8 is returned as it is.
func UTF8(content []byte) (text []byte, wide bool) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(content, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(content, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return content, false
	}
	units := make([]uint16, 0, len(content)/2)
	for i := 2; i+1 < len(content); i += 2 {
		units = append(units, order.Uint16(content[i:]))
	}
	return []byte(string(utf16.Decode(units))), true
}

// InvalidLine returns the first line, 1-based, that is not in UTF-8; 0 when there is none.
func InvalidLine(content []byte) int {
	if utf8.Valid(content) {
		return 0
	}
	line := 1
	for text := range bytes.Lines(content) {
		if !utf8.Valid(text) {
			return line
		}
		line++
	}
	return line
}
