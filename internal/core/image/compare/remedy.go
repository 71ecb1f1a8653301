package compare

import (
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// remedies say how a Dockerfile can do without what is known to be another each time, by patterns of paths without the
// slash in front. The first one that matches counts.
var remedies = []struct{ patterns, remedy string }{
	{"var/log/apt/** var/log/dpkg.log var/log/alternatives.log var/log/bootstrap.log",
		"apt and dpkg log the time: end the RUN with `rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log`"},
	{"var/cache/ldconfig/aux-cache", "ldconfig notes the times of libraries: end the RUN with `rm -f /var/cache/ldconfig/aux-cache`"},
	{"var/lib/apt/lists/**", "the lists of packages change each day: end the RUN with `rm -rf /var/lib/apt/lists/*`"},
	{"var/cache/apt/** var/cache/debconf/**", "end the RUN with `apt-get clean` and `rm -rf /var/cache/debconf/*-old`"},
	{"var/cache/apk/** lib/apk/db/scripts.tar etc/apk/cache/**", "use `apk add --no-cache`"},
	{"var/lib/dnf/** var/cache/dnf/** var/lib/rpm/** usr/lib/sysimage/rpm/**", "end the RUN with `dnf clean all && rm -rf /var/lib/dnf /var/log/dnf*`"},
	{"**/__pycache__/** **/*.pyc", "Python notes the times of sources: set `ENV PYTHONDONTWRITEBYTECODE=1`, and install with `pip install --no-compile`"},
	{"**/*.dist-info/RECORD", "pip lists the compiled files with their hashes: `pip install --no-compile`"},
	{"**/.cache/pip/**", "use `pip install --no-cache-dir`, or `RUN --mount=type=cache,target=/root/.cache/pip`"},
	{"**/.npm/** **/.yarn/** **/node_modules/.cache/** **/.pnpm-store/**", "use `RUN --mount=type=cache,target=/root/.npm` for the cache of the package manager"},
	{"**/.cache/go-build/** go/pkg/mod/cache/**", "use `RUN --mount=type=cache` for /root/.cache/go-build and /go/pkg/mod"},
	{"**/.m2/** **/.gradle/** **/.cargo/registry/**", "use `RUN --mount=type=cache` for the cache of the build tool"},
	{"etc/shadow etc/shadow- etc/gshadow etc/gshadow-", "the day of the last change of a password stands in it: run `SOURCE_DATE_EPOCH=0 useradd …`"},
	{"etc/machine-id var/lib/dbus/machine-id", "a machine makes its own at its first start: end the RUN with `truncate -s 0 /etc/machine-id`"},
	{"etc/ssh/ssh_host_*", "these are the host's secret keys, and an image gives them to everybody: remove them in the RUN"},
	{"var/cache/fontconfig/** usr/share/mime/mime.cache", "this is a cache that a program makes by itself: remove it in the RUN"},
	{"tmp/** var/tmp/** run/**", "this is temporary: remove it in the RUN, or use `RUN --mount=type=tmpfs,target=/tmp`"},
	{"var/log/**", "this is a log: remove it in the RUN"},
	{"**/.cache/**", "this is a cache: remove it in the RUN, or use `RUN --mount=type=cache` for its directory"},
	{"**/*.jar **/*.zip **/*.whl **/*.gz", "an archive holds times: have the tool that makes it take SOURCE_DATE_EPOCH, or `gzip -n`"},
}

func remedy(name string) string {
	name = strings.TrimPrefix(name, "/")
	for _, r := range remedies {
		for pattern := range strings.FieldsSeq(r.patterns) {
			if ok, _ := doublestar.Match(pattern, name); ok {
				return r.remedy
			}
		}
	}
	return ""
}
