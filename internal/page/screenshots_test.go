//go:build screenshots

package page

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shots is where `make screenshots` looks for the pictures.
const shots = "../../bin/screenshots"

// frame shows a page in the width of a device, and says in its title how wide the page would like to be: a window of headless
// Chromium is never as narrow as a phone.
const frame = `<!doctype html><meta name="color-scheme" content="light dark"><style>:root{color-scheme:light dark}body{margin:0}iframe{border:0;display:block}</style>
<iframe id="f" src="%s" width="%d" height="%d"></iframe>
<script>f.onload=()=>{document.title="wide "+f.contentDocument.documentElement.scrollWidth+" dark "+f.contentWindow.matchMedia("(prefers-color-scheme: dark)").matches}</script>`

// TestScreenshots shows the samples in headless Chromium, as a phone and a desktop do, and takes pictures of them.
func TestScreenshots(t *testing.T) {
	require.NoError(t, os.RemoveAll(shots))
	dir, err := filepath.Abs(shots)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for name, run := range samples() {
		file := filepath.Join(dir, name+".html")
		out, err := os.Create(file)
		require.NoError(t, err)
		require.NoError(t, run.HTML(out))
		require.NoError(t, out.Close())
		for device, width := range map[string]int{"phone": 390, "desktop": 1280} {
			for _, dark := range []bool{false, true} {
				shoot(t, dir, name, device, width, dark)
			}
		}
	}
}

var seen = regexp.MustCompile(`<title>wide (\d+) dark (\w+)</title>`)

func shoot(t *testing.T, dir, name, device string, width int, dark bool) {
	t.Helper()
	scheme := map[bool]string{false: "light", true: "dark"}[dark]
	picture := filepath.Join(dir, fmt.Sprintf("%s-%s-%s.png", name, device, scheme))
	wrapper := filepath.Join(dir, fmt.Sprintf("%s-%s.frame.html", name, device))
	const height = 1800
	require.NoError(t, os.WriteFile(wrapper, fmt.Appendf(nil, frame, name+".html", width, height), 0o644))
	args := []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
		"--allow-file-access-from-files", "--user-data-dir=" + t.TempDir(), fmt.Sprintf("--window-size=%d,%d", max(width, 500), height),
	}
	if dark {
		args = append(args, "--force-dark-mode")
	}
	dom, err := exec.Command("chromium", append(args, "--screenshot="+picture, "--dump-dom", "file://"+wrapper)...).Output()
	require.NoError(t, err)
	m := seen.FindSubmatch(dom)
	require.NotNil(t, m, "the page was not loaded: %.300s", dom)
	require.FileExists(t, picture)
	wide, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	assert.LessOrEqual(t, wide, width, "%s is wider than a %s", name, device)
	assert.Equal(t, strconv.FormatBool(dark), string(m[2]), "%s %s", name, scheme)
}
