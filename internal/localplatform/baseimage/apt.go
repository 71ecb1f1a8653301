package baseimage

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// keyring is where the package debian-archive-keyring puts its keys, here and in the image.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// aptConfiguration returns how this machine's apt reaches Debian, as options and sources for mmdebstrap. The image gets the
// same sources, so that `apt-get update` works in a build if it works on this machine. sources is empty if this machine
// does not run Debian; mmdebstrap then uses Debian's own mirror.
func aptConfiguration(ctx context.Context) (options, sources []string, err error) {
	targets, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format",
		"$(CREATED_BY)|$(COMPONENT)|$(ORIGIN)|$(LABEL)|$(RELEASE)|$(REPO_URI)").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("ask apt-get for its package sources: %w", err)
	}
	if mirror := debianMirror(string(targets), codename()); mirror != "" {
		sources = []string{fmt.Sprintf("deb [signed-by=%s] %s %s main", keyring, mirror, suite)}
	}

	config, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("ask apt-config for its settings: %w", err)
	}
	return networkOptions(string(config)), sources, nil
}

// debianMirror returns the mirror of Debian's main archive from the output of `apt-get indextargets`. Origin and label are
// known only after an `apt-get update`. Before that, it returns the source of this machine's own release.
func debianMirror(targets, codename string) string {
	for line := range strings.Lines(targets) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 6 || f[0] != "Packages" || f[1] != "main" {
			continue
		}
		origin, label, release, uri := f[2], f[3], f[4], f[5]
		if origin == "Debian" && label == "Debian" {
			return uri
		}
		unknown := origin == "" || strings.HasPrefix(origin, "$(")
		if unknown && codename != "" && release == codename {
			return uri
		}
	}
	return ""
}

// codename is this machine's Debian release ("bookworm"), empty on anything else.
func codename() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	values := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		k, v, _ := strings.Cut(s.Text(), "=")
		values[k] = strings.Trim(v, `"`)
	}
	if values["ID"] != "debian" {
		return ""
	}
	return values["VERSION_CODENAME"]
}

// network matches the settings that apt needs to reach and verify a mirror. A proxy's address that may hold a password is
// left out, because the settings are written into the image.
var network = regexp.MustCompile(`(?m)^Acquire::(?:Check-Valid-Until|Check-Date|https?::Proxy(?:::[^ ]+)?) "[^"@]+";$`)

// networkOptions returns such settings from the output of `apt-config dump`.
func networkOptions(config string) []string {
	var options []string
	for _, s := range network.FindAllString(config, -1) {
		options = append(options, "--aptopt="+strings.TrimSuffix(s, ";"))
	}
	return options
}
