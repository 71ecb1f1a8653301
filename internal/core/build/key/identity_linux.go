package key

import (
	"io/fs"
	"strconv"
	"syscall"
	"time"
)

// identity names a file and its state, and says when that changed last.
func identity(info fs.FileInfo) (id string, changed time.Time) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", time.Time{}
	}
	text := make([]byte, 0, 80)
	for _, n := range []int64{int64(s.Dev), int64(s.Ino), s.Size, s.Mtim.Nano(), s.Ctim.Nano(), int64(s.Mode)} {
		text = append(strconv.AppendInt(text, n, 36), ' ')
	}
	return string(text), time.Unix(s.Ctim.Unix())
}
