package main

// The root certificates of the Go project, for where the system has none: an image from
// scratch. Where the system has its own, those count.
import _ "golang.org/x/crypto/x509roots/fallback"
