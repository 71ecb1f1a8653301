// Builds the process that holds a pod's namespaces open: CGO_ENABLED=0 go build -ldflags "-s -w" -o ../../bin/pause .
module github.com/aksflow/aksflow/tools/pause

go 1.26.0
