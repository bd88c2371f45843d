// Package load loads a server over HTTP/2 as one worker of Envoy does: one loop a
// connection, which writes the headers and body of all requests that are due in one write, reads
// what is there, and begins again. Start at [Dial] and [Conn.Run].
//
// A request's latency counts from when it was due, so a server that falls behind can't
// hide it. A run begins and ends with nothing under way, so that what the server spent
// between belongs to the run's requests alone.
package load
