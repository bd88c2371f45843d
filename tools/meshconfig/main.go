// meshconfig reads the Helm values of Istio's chart istiod on its standard input and fails
// unless their meshConfig is one that this version of Istio's API knows, key by key. It
// prints what it read as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"istio.io/api/mesh/v1alpha1"
)

func main() {
	if err := check(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "meshconfig:", err)
		os.Exit(1)
	}
}

func check(in io.Reader, out io.Writer) error {
	var values struct {
		MeshConfig map[string]any `yaml:"meshConfig"`
	}
	decoder := yaml.NewDecoder(in)
	decoder.KnownFields(true)
	if err := decoder.Decode(&values); err != nil {
		return fmt.Errorf("read values: %w", err)
	}
	text, err := json.Marshal(values.MeshConfig)
	if err != nil {
		return fmt.Errorf("read meshConfig: %w", err)
	}
	var config v1alpha1.MeshConfig
	if err := protojson.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("read meshConfig: %w", err)
	}
	if text, err = protojson.Marshal(&config); err != nil {
		return fmt.Errorf("write meshConfig: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}
