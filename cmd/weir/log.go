package main

import (
	"io"
	"log/slog"
)

// newLog is the log of a process: one JSON object a line.
func newLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

// levelOf is the level of a word of weir.yaml; config has checked the word.
func levelOf(word string) slog.Level {
	var level slog.Level
	if level.UnmarshalText([]byte(word)) != nil {
		return slog.LevelInfo
	}
	return level
}
