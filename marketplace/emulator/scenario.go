package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxScenario bounds a scenario, in bytes.
const maxScenario = 16 << 20

// LoadScenario makes the control calls that a YAML document lists, in its order, and stops at the first that is
// refused, with its line. Each item is one call, method and path below /_control/, with the call's body:
//
//   - PUT products/8h6s: {dimensions: [{key: basic, types: [Entitled]}]}
//   - POST licenses:
//     product: 8h6s
//     account: "111122223333"
//     licenseArn: arn:aws:license-manager::294406891311:license:l-1
//     entitlements: [{dimension: basic, value: true}]
//   - PUT feeds: {eventbridge: {queue: weir}}
//   - PUT clock: {now: 2026-11-01T00:00:00Z}
//   - POST licenses/arn:aws:license-manager::294406891311:license:l-1/suspend:
//
// Later items name a license by the LicenseArn or customer identifier that an earlier one gave it.
func (e *Emulator) LoadScenario(r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxScenario+1))
	if err != nil {
		return fmt.Errorf("read scenario: %w", err)
	}
	if len(text) > maxScenario {
		return fmt.Errorf("read scenario: it has more than %d bytes", maxScenario)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("read scenario: %w", err)
	}
	if document.Kind == 0 {
		return nil // empty
	}
	list := document.Content[0]
	if list.Kind != yaml.SequenceNode {
		return fmt.Errorf("read scenario: line %d: want a list of calls such as \"- POST licenses: {...}\"", list.Line)
	}
	for _, item := range list.Content {
		if err := e.replay(item); err != nil {
			return fmt.Errorf("load scenario: line %d: %w", item.Line, err)
		}
	}
	return nil
}

// replay makes one call of a scenario.
func (e *Emulator) replay(item *yaml.Node) error {
	if item.Kind != yaml.MappingNode || len(item.Content) != 2 {
		return errors.New("want one call, \"METHOD path: body\"")
	}
	name := item.Content[0].Value
	method, path, found := strings.Cut(name, " ")
	if !found {
		return fmt.Errorf("%q is no call: want METHOD path", clip(name))
	}
	body, err := jsonBody(item.Content[1])
	if err != nil {
		return fmt.Errorf("%s: %w", clip(name), err)
	}
	path = strings.TrimPrefix(strings.TrimSpace(path), controlPrefix)
	r, err := http.NewRequestWithContext(context.Background(), method, controlPrefix+strings.TrimPrefix(path, "/"), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", clip(name), err)
	}
	w := &memoryWriter{header: http.Header{}, status: http.StatusOK}
	e.control.ServeHTTP(w, r)
	if w.status == http.StatusOK {
		return nil
	}
	var refusal struct{ Detail, Hint string }
	if err := json.Unmarshal(w.body.Bytes(), &refusal); err != nil {
		return fmt.Errorf("%s: status %d", clip(name), w.status)
	}
	return fmt.Errorf("%s: %s; %s", clip(name), refusal.Detail, refusal.Hint)
}

// memoryWriter keeps the answer to a call that came over no network.
type memoryWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *memoryWriter) Header() http.Header         { return w.header }
func (w *memoryWriter) WriteHeader(status int)      { w.status = status }
func (w *memoryWriter) Write(p []byte) (int, error) { return w.body.Write(p) }

// jsonBody is a YAML value as JSON. Numbers keep their spelling: 10 is an integer, 10.0 is not.
func jsonBody(node *yaml.Node) ([]byte, error) {
	if node.Tag == "!!null" {
		return nil, nil
	}
	value, err := plain(node)
	if err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

func plain(node *yaml.Node) (any, error) {
	switch node.Kind {
	case yaml.AliasNode:
		return nil, fmt.Errorf("line %d: write the value out: a scenario has no aliases", node.Line)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range node.Content {
			v, err := plain(item)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		members := object{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			name := node.Content[i].Value
			if _, twice := members[name]; twice {
				return nil, fmt.Errorf("line %d: %q is there twice", node.Content[i].Line, clip(name))
			}
			v, err := plain(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			members[name] = v
		}
		return members, nil
	}
	return scalar(node)
}

func scalar(node *yaml.Node) (any, error) {
	if (node.Tag == "!!int" || node.Tag == "!!float") && json.Valid([]byte(node.Value)) {
		return json.Number(node.Value), nil
	}
	if node.Tag == "!!timestamp" {
		return node.Value, nil
	}
	var v any
	if err := node.Decode(&v); err != nil {
		return nil, fmt.Errorf("line %d: %w", node.Line, err)
	}
	return v, nil
}
