// Package schema holds the JSON Schema of aksflow.yaml, for editors. Its test generates it from the types of package config:
//
//	go test ./schema -update
package schema

import _ "embed"

// JSON is the schema.
//
//go:embed aksflow.schema.json
var JSON []byte

// URL is where the repository serves the schema.
const URL = "https://raw.githubusercontent.com/aksflow/aksflow/main/schema/aksflow.schema.json"
