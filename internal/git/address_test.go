package git

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

func TestSameRepository(t *testing.T) {
	for name, same := range map[string][]string{
		"any host": {
			"https://git.example.com/shop/config.git", "https://git.example.com/shop/config", "https://GIT.example.com/shop/config.git/",
			"git@git.example.com:shop/config.git", "git.example.com:shop/config", "user@git.example.com:/shop/config",
			"ssh://git@git.example.com/shop/config", "ssh://git@git.example.com:22/shop/config", "ssh://git@git.example.com//shop/config.git",
			"https://user@git.example.com/shop/config.git", "https://git.example.com:443/shop/config", "http://git.example.com/shop/config",
			"git+ssh://git@git.example.com/shop/config", " https://git.example.com./shop/config ", "https://git.example.com/shop%2Fconfig",
		},
		"a port for ssh":  {"ssh://git@git.example.invalid:2222/team/config.git", "https://git.example.invalid/team/config"},
		"a port for each": {"ssh://git@git.example.invalid:2222/team/config.git", "https://git.example.invalid:3000/team/config"},
		"an address":      {"git@[::1]:team/config", "https://[::1]/team/config.git"},
		"GitHub": {
			"https://github.com/team/config", "https://github.com/Team/Config", "git@GitHub.com:team/config.git",
			"ssh://git@ssh.github.com:443/team/config.git", "https://www.github.com/team/config/",
		},
		"GitLab":    {"https://gitlab.com/Group/sub/config", "ssh://git@altssh.gitlab.com:443/group/sub/config.git"},
		"Bitbucket": {"https://bitbucket.example.com/scm/OPS/config.git", "ssh://git@bitbucket.example.com:7999/OPS/config.git"},
		"Azure Repos": {
			"https://dev.azure.com/org/proj/_git/config", "https://org@dev.azure.com/org/proj/_git/config/", "git@ssh.dev.azure.com:v3/org/proj/config",
			"ssh://git@ssh.dev.azure.com:22/v3/org/proj/config", "https://org.visualstudio.com/proj/_git/config",
			"https://org.visualstudio.com/DefaultCollection/proj/_git/config", "org@vs-ssh.visualstudio.com:v3/org/proj/config",
			"https://dev.azure.com/Org/Proj/_git/Config",
		},
		"Azure Repos with blanks": {
			"https://dev.azure.com/org/My%20Project/_git/my%20config", "https://dev.azure.com/org/My Project/_git/my config",
			"git@ssh.dev.azure.com:v3/org/My%20Project/my%20config", "https://org.visualstudio.com/My%20Project/_git/my%20config",
		},
		"Azure Repos, the project's own": {
			"https://dev.azure.com/org/_git/proj", "https://dev.azure.com/org/proj/_git/proj", "https://org.visualstudio.com/_git/proj",
			"git@ssh.dev.azure.com:v3/org/proj/proj",
		},
		"Azure DevOps Server": {"https://tfs.example.com/tfs/Main/Proj/_git/config", "https://TFS.example.com/tfs/main/proj/_git/Config"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, a := range same {
				for _, b := range same {
					if name == "any host" || a != b {
						assert.True(t, SameRepository(a, b), "%s and %s", a, b)
					}
				}
			}
		})
	}
	for _, different := range [][2]string{
		{"", ""},
		{"https://git.example.com/shop/config", ""},
		{"https://git.example.com/shop/config", "https://git.example.com/shop/other"},
		{"https://git.example.com/shop/config", "https://git.example.com/Shop/config"},
		{"https://git.example.com/shop/config", "https://git.example.com:8443/shop/config"},
		{"ssh://git@git.example.com:22/shop/config", "ssh://git@git.example.com:2222/shop/config"},
		{"https://git.example.com/shop/config", "https://git.example.org/shop/config"},
		{"https://git.example.com/scm/config", "https://git.example.com/config"},
		{"https://dev.azure.com/org/proj/_git/config", "https://dev.azure.com/org/proj/_git/config.git"},
		{"https://dev.azure.com/org/proj/_git/config", "https://dev.azure.com/other/proj/_git/config"},
		{"git@ssh.dev.azure.com:v3/org/proj/config", "git@ssh.dev.azure.com:v3/org/other/config"},
	} {
		assert.False(t, SameRepository(different[0], different[1]), "%s and %s", different[0], different[1])
	}
}

func TestGitHubAPI(t *testing.T) {
	for url, want := range map[string]string{
		"https://github.com/team/config":            "https://api.github.com/",
		"ssh://git@ssh.github.com:443/team/config":  "https://api.github.com/",
		"git@github.example.com:team/config":        "https://github.example.com/api/v3/",
		"https://github.example.com:8443/a/b.git":   "https://github.example.com:8443/api/v3/",
		"ssh://git@github.example.com:2222/a/b.git": "https://github.example.com/api/v3/",
		"https://acme.ghe.com/team/config":          "https://api.acme.ghe.com/",
		"http://127.0.0.1:8080/team/config.git":     "http://127.0.0.1:8080/api/v3/",
	} {
		got, err := Remote{URL: url}.GitHubAPI()
		require.NoError(t, err)
		assert.Equal(t, want, got, url)
	}
	path, err := Remote{URL: "git@github.com:team/config.git", Access: delivery.GitAccess{}}.Repository()
	require.NoError(t, err)
	assert.Equal(t, "team/config", path)
}
