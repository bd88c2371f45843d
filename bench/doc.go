// Command bench measures what a check costs: weir as `make build` makes it, against A, a
// server that does nothing on the generated types, which is the least that every ext_authz server
// on them pays. It writes docs/benchmarks.md and its plots.
//
// Start at main.go. checks.go makes the requests, load drives them, target.go starts the
// servers and reads what they spent, scenario.go says what is measured, envoy.go does it
// end to end, report.go and plot.go write it down.
//
// # How it measures
//
// Everything is a ratio to A in the same round, and A and weir take turns, because a
// virtual machine is not the same machine for two minutes on end. CPU is what the kernel says that
// the server's threads ran (/proc/PID/task/*/schedstat). The server has a processor of its own,
// and so has the load.
package main
