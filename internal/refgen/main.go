// Command refgen writes docs/configuration.md, the reference of weir.yaml, from the
// configuration's own types: keys and kinds from the struct tags, defaults from
// config.Default and SetDefaults, meanings from the field comments. Run it in the
// root of the repository:
//
//	go run ./internal/refgen > docs/configuration.md
//	go run ./internal/refgen -check docs/configuration.md
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
)

func main() {
	check := flag.String("check", "", "compare with this `file` instead of writing; exit 1 where it is stale")
	root := flag.String("root", ".", "the repository's root `directory`")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintf(os.Stderr, "refgen: %v\n", err)
		os.Exit(1)
	}
}

func run(root, check string) error {
	page, err := reference(root)
	if err != nil {
		return err
	}
	if check == "" {
		_, err := os.Stdout.Write(page)
		return err
	}
	present, err := os.ReadFile(check)
	if err != nil {
		return fmt.Errorf("read reference: %w", err)
	}
	if !bytes.Equal(present, page) {
		return fmt.Errorf("check reference: %s is stale\nhint: go run ./internal/refgen > %s", check, check)
	}
	return nil
}
