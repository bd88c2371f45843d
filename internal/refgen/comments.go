package main

import (
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
)

// module is the path of the module whose packages own the configuration.
const module = "github.com/weirhq/weir/"

// comments finds the comments of types and their fields in the source.
type comments struct {
	root string
	read map[string]map[string]string // by package, by Type or Type.Field
}

// of is the comment of a field, or of the type itself where field is empty, as one
// line. Where the comment begins with the Go name, that is cut off and named too.
func (c *comments) of(t reflect.Type, field string) (string, error) {
	known, ok := c.read[t.PkgPath()]
	if !ok {
		var err error
		if known, err = c.parse(t.PkgPath()); err != nil {
			return "", err
		}
		c.read[t.PkgPath()] = known
	}
	name := strings.TrimSuffix(t.Name()+"."+field, ".")
	text, ok := known[name]
	if !ok {
		return "", fmt.Errorf("find comment: %s.%s has none", t.PkgPath(), name)
	}
	return text, nil
}

func (c *comments) parse(pkg string) (map[string]string, error) {
	dir, ok := strings.CutPrefix(pkg, module)
	if !ok {
		return nil, fmt.Errorf("find source: %s is of another module", pkg)
	}
	names, err := filepath.Glob(filepath.Join(c.root, filepath.FromSlash(dir), "*.go"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("find source: %s: %w", dir, fs.ErrNotExist)
	}
	found := map[string]string{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse source: %w", err)
		}
		for _, decl := range file.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				collect(found, g)
			}
		}
	}
	return found, nil
}

// collect notes the comments of a type declaration.
func collect(found map[string]string, g *ast.GenDecl) {
	for _, spec := range g.Specs {
		t := spec.(*ast.TypeSpec)
		s, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		doc := t.Doc
		if doc == nil {
			doc = g.Doc
		}
		found[t.Name.Name] = oneLine(doc)
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				if f.Doc != nil {
					found[t.Name.Name+"."+name.Name] = oneLine(f.Doc)
				}
			}
		}
	}
}

// oneLine is the first paragraph of a comment.
func oneLine(doc *ast.CommentGroup) string {
	if doc == nil {
		return ""
	}
	var p comment.Parser
	parsed := p.Parse(doc.Text())
	parsed.Content = parsed.Content[:min(1, len(parsed.Content))]
	printer := comment.Printer{TextWidth: -1, DocLinkURL: func(*comment.DocLink) string { return "" }}
	return strings.TrimSpace(string(printer.Text(parsed)))
}
