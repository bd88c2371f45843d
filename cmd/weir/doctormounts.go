package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// mountOf finds the mount that a path, without symbolic links, lies on (proc_pid_mountinfo(5)). A later line hides an earlier one.
func mountOf(table io.Reader, path string) (found mount, err error) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		m, ok := parseMount(lines.Text())
		if ok && m.holds(path) && len(m.point) >= len(found.point) {
			found = m
		}
	}
	if err := lines.Err(); err != nil {
		return mount{}, fmt.Errorf("read mount table: %w", err)
	}
	if found.point == "" {
		return mount{}, errors.New("read mount table: no mount holds it")
	}
	return found, nil
}

// parseMount reads "id parent major:minor root point options [fields] - kind source options".
func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, kind := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 6 || len(kind) == 0 {
		return mount{}, false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	return mount{root: unescape.Replace(fields[3]), point: unescape.Replace(fields[4]), kind: kind[0]}, true
}

func (m mount) holds(path string) bool {
	return m.point == "/" || path == m.point || strings.HasPrefix(path, m.point+"/")
}
