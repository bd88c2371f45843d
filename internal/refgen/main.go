// Command refgen writes the generated pages of docs. configuration.md, the reference of
// weir.yaml, is made of the configuration's own types: keys and kinds from the struct tags,
// defaults from config.Default and SetDefaults, meanings from the field comments. metrics.md is
// made of the calls in the source that make metrics. Run it in the root of the repository:
//
//	go run ./internal/refgen > docs/configuration.md
//	go run ./internal/refgen -page metrics > docs/metrics.md
//	go run ./internal/refgen -check docs/configuration.md
//	go run ./internal/refgen -page metrics -check docs/metrics.md
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
)

func main() {
	page := flag.String("page", "configuration", "which `page`: configuration or metrics")
	check := flag.String("check", "", "compare with this `file` instead of writing; exit 1 where it is stale")
	root := flag.String("root", ".", "the repository's root `directory`")
	flag.Parse()
	if err := run(*root, *page, *check); err != nil {
		fmt.Fprintf(os.Stderr, "refgen: %v\n", err)
		os.Exit(1)
	}
}

func run(root, page, check string) error {
	write, ok := map[string]func(string) ([]byte, error){"configuration": reference, "metrics": metricsPage}[page]
	if !ok {
		return fmt.Errorf("write page: there is no page %q\nhint: configuration or metrics", page)
	}
	text, err := write(root)
	if err != nil {
		return err
	}
	if check == "" {
		_, err := os.Stdout.Write(text)
		return err
	}
	present, err := os.ReadFile(check)
	if err != nil {
		return fmt.Errorf("read reference: %w", err)
	}
	if !bytes.Equal(present, text) {
		return fmt.Errorf("check reference: %s is stale\nhint: go run ./internal/refgen -page %s > %s", check, page, check)
	}
	return nil
}
