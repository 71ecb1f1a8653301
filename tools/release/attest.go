package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// billOfMaterials writes the modules of Go that the programs are made of, as Go itself wrote them into the programs.
func (r *release) billOfMaterials(to, bin, arch string) (err error) {
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: r.time.Format(time.RFC3339),
		Component: &cdx.Component{Type: cdx.ComponentTypeApplication, Name: "aksflow", Version: r.version, BOMRef: "aksflow", PackageURL: "pkg:golang/github.com/aksflow/aksflow@" + r.version},
	}
	var components []cdx.Component
	modules := map[string]bool{}
	for _, p := range programs {
		info, err := buildinfo.ReadFile(filepath.Join(bin, p.name))
		if err != nil {
			return fmt.Errorf("reading what %s is made of: %w", p.name, err)
		}
		contents := []cdx.Component{{
			Type: cdx.ComponentTypeLibrary, Name: "std", Version: info.GoVersion, PackageURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"),
		}}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			if m.Version == "" {
				continue // a directory of this repository
			}
			contents = append(contents, cdx.Component{Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: "pkg:golang/" + m.Path + "@" + m.Version})
		}
		for i := range contents {
			contents[i].BOMRef = p.name + ":" + contents[i].PackageURL
			modules[contents[i].PackageURL] = true
		}
		components = append(components, cdx.Component{Type: cdx.ComponentTypeApplication, Name: p.name, Version: r.version, BOMRef: p.name, Components: &contents})
	}
	bom.Components = &components
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fmt.Printf("%d modules in the programs for linux/%s\n", len(modules), arch)
	return cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
}

// statement is an in-toto statement with SLSA's provenance: https://slsa.dev/spec/v1.1/provenance
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     any       `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest"`
}

// attest writes the checksums of all files, and where they come from.
func (r *release) attest(out string) error {
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	var sums strings.Builder
	var subjects []subject
	for _, e := range entries {
		digest, err := sum(filepath.Join(out, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", digest, e.Name())
		subjects = append(subjects, subject{Name: e.Name(), Digest: map[string]string{"sha256": digest}})
	}
	slices.SortFunc(subjects, func(a, b subject) int { return strings.Compare(a.Name, b.Name) })
	if err := os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o644); err != nil {
		return err
	}
	type object = map[string]any
	run := object{}
	if r.run != "" {
		run["invocationId"] = r.run
	}
	data, err := json.MarshalIndent(statement{
		Type: "https://in-toto.io/Statement/v1", Subject: subjects, PredicateType: "https://slsa.dev/provenance/v1",
		Predicate: object{
			"buildDefinition": object{
				"buildType":          r.source + "/tree/main/tools/release",
				"externalParameters": object{"version": r.version},
				"resolvedDependencies": []subject{
					{URI: "git+" + r.source, Digest: map[string]string{"gitCommit": r.commit}},
				},
				"internalParameters": object{"go": runtime.Version()},
			},
			"runDetails": object{"builder": object{"id": r.source + "/tree/main/tools/release"}, "metadata": run},
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "provenance.json"), append(data, '\n'), 0o644)
}

func sum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
