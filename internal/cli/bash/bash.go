// Package bash makes the completion of the command work in each bash.
package bash

import (
	"io"

	"github.com/spf13/cobra"
)

// words defines for bash what the script takes from the package bash-completion, where that is not installed: the words of
// the line as far as the cursor.
const words = `if ! declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref() {
        local line=${COMP_LINE:0:COMP_POINT}
        read -ra words <<<"$line"
        [[ $line == *[[:space:]] ]] && words+=("")
        cword=$((${#words[@]} - 1))
        cur=${words[cword]} prev=${words[cword > 0 ? cword - 1 : 0]}
    }
fi
`

// CompleteAlone makes the completion script for bash need nothing beside it.
func CompleteAlone(root *cobra.Command) {
	bash, _, err := root.Find([]string{"completion", "bash"})
	if err != nil || bash.RunE == nil {
		return
	}
	generate := bash.RunE
	bash.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := io.WriteString(root.OutOrStdout(), words); err != nil {
			return err
		}
		return generate(cmd, args)
	}
}
