module github.com/aksflow/aksflow/tools/build

go 1.26.0
