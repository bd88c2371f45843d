// Package config reads weir.yaml: one YAML document, read strictly, completed with
// defaults and checked as a whole, so that every mistake is told at once.
//
// Start at [Load]. [Config] composes the parts that the packages own (policy,
// marketplace, cache, metering) with the part that belongs to the process itself;
// only this package knows lines and columns.
//
// # What it guarantees
//
// Load touches nothing but the bytes it is given, and its time and memory are
// bounded by their number. Keys that are unknown, given twice or merged, values
// of another type, names that lead nowhere and combinations that mean nothing are
// mistakes; [Error] lists all of them, each with line, column and cure.
//
// # What is not built yet
//
// Every key of the file is read and checked. Those that serve does not act on are
// the rows of one table, in notyet.go.
package config
