package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkStart measures the built aksflow: the time that `aksflow --version` takes, and the size of the file.
func BenchmarkStart(b *testing.B) {
	bin := os.Getenv("AKSFLOW_BIN")
	if bin == "" {
		bin = "bin"
	}
	aksflow, err := filepath.Abs(filepath.Join(bin, "aksflow"))
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(aksflow)
	if err != nil {
		b.Skipf("%v: `make aksflow` builds it", err)
	}
	for b.Loop() {
		if out, err := exec.Command(aksflow, "--version").CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	b.ReportMetric(float64(info.Size())/1e6, "MB")
}
