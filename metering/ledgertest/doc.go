// Package ledgertest is what any implementation of metering.Ledger has to fulfil.
// A test of an implementation calls [Run]; [Conserved] holds at any moment in between.
package ledgertest
