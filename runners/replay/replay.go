// Package replay applies batches of events to tables.
//
// A batch is read from the provider ([Source]), and the next one meanwhile ([Prefetch]). Its
// changes are collected per table, folded to one net change for each key, and applied as
// set-based statements over arrays ([Applier]). Where folding could differ from the order
// of events, the order of events is kept.
//
// Every value travels as text and is read by the input function of its column.
package replay

import "sync/atomic"

// Stats counts what was done. It is safe for concurrent use.
type Stats struct {
	Batches   atomic.Int64
	Events    atomic.Int64 // read
	Ignored   atomic.Int64 // of tables that are not replicated here, or not yet
	Passed    atomic.Int64 // handed to a function, or to another queue
	Rows      atomic.Int64 // written: net changes
	Missing   atomic.Int64 // rows to update or delete that were not there, where that is allowed
	Conflicts atomic.Int64 // rows to insert whose key was there, where that is allowed
	Fallbacks atomic.Int64 // times that a table's changes had to be applied in the order of events
	Tick      atomic.Int64 // last one completed
	Lag       atomic.Int64 // nanoseconds: the age of that tick when it was completed
}
