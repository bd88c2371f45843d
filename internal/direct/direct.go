// Package direct reads and writes sockets without telling Go's scheduler, for servers that answer small messages.
//
// Go tells its scheduler of each system call, because one may block; the first after a pause wakes the runtime's monitor thread, which looks
// after those that do. A socket of package net never blocks: the call is made at once or not at all, and the wait is the poller's. So
// what a lone message pays for being watched, two or three changes of thread, buys nothing, and [Listen] leaves it out. What the calls
// mean stays the same: deadlines, closing and errors are package net's. Files, timers and other sockets wake the monitor as ever, so
// that a goroutine that computes for long is still interrupted.
package direct
