package cli

import "github.com/spf13/cobra"

// pipelineCommands are the verbs that deliver, in the order in which a delivery takes them.
func pipelineCommands(g *globals) []*cobra.Command {
	return []*cobra.Command{
		buildCommand(g), testCommand(g), publishCommand(g),
		bumpCommand(g), waitCommand(g),
		deployCommand(g), diffCommand(g), resumeCommand(g), abortCommand(g), rollbackCommand(g), historyCommand(g), logsCommand(g), uninstallCommand(g),
		deliverCommand(g), devCommand(g), promoteCommand(g), approveCommand(g), planCommand(g), validateCommand(g), verifyCommand(g),
	}
}

// machineCommands are about the machine that the command runs on, and what has to be set up for a delivery.
func machineCommands(g *globals) []*cobra.Command {
	return []*cobra.Command{
		runCommand(g), upCommand(g), downCommand(g), kubeconfigCommand(g), initCommand(g), doctorCommand(g),
		pruneCommand(g), versionCommand(g), schemaCommand(g), manCommand(g),
	}
}
