package web

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skytools-go/skytools/runners/group"
	"github.com/skytools-go/skytools/runners/wal/standby"
)

// collector turns a status report into metrics at every scrape: what is shown and
// what is measured cannot differ.
type collector struct{ server *Server }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("skytools_"+name, help, labels, nil)
}

var (
	databaseUp    = desc("database_up", "Whether the database could be read.", "database")
	queueNew      = desc("queue_new_events", "Events after the newest tick.", "database", "queue")
	queueTick     = desc("queue_tick", "Newest tick.", "database", "queue")
	queueTickLag  = desc("queue_ticker_lag_seconds", "Time since the newest tick.", "database", "queue")
	queueBytes    = desc("queue_bytes", "Size of the queue's data tables with their indexes.", "database", "queue")
	consumerLag   = desc("consumer_lag_seconds", "Age of the tick that the consumer is at.", "database", "queue", "consumer")
	consumerNew   = desc("consumer_pending_events", "Events that the consumer has not read, up to the newest tick.", "database", "queue", "consumer")
	consumerHolds = desc("consumer_holds_back_seconds", "How long a due rotation has been waiting for the consumer.", "database", "queue", "consumer")
	nodeTick      = desc("node_tick", "Tick up to which the node has replayed.", "database", "queue", "type")
	nodeLag       = desc("node_lag_seconds", "How far the node is behind its provider.", "database", "queue")
	nodeFailing   = desc("node_failing", "Whether the node's worker has stored an error.", "database", "queue")
	nodePaused    = desc("node_paused", "Whether the node's worker is paused.", "database", "queue")
	nodeTwoRoots  = desc("node_two_roots", "Whether the node is root, and another believes that it is, too.", "database", "queue")
	tableInSync   = desc("table_in_sync", "Whether the replicated table's copy is complete.", "database", "queue", "table")
	walFailing    = desc("archiver_failing", "Whether the server's last attempt to archive a file failed.", "database")
	walAge        = desc("archiver_last_archived_seconds", "Time since the server archived a file.", "database")
	walWaiting    = desc("archiver_waiting_files", "Files that wait to be archived.", "database")
	walWaitingAge = desc("archiver_waiting_seconds", "Age of the oldest of them.", "database")
	walQueued     = desc("archiver_waiting_bytes", "Size of the segments that wait to be archived.", "database")
	archiveReads  = desc("archive_readable", "Whether this process could look into the archive's stores.", "archive", "of")
	archiveMissed = desc("archive_missed_segments", "Segments that the archive does not have and that do not come any more: no restore leads across them.", "archive", "of")
	walBytes      = desc("wal_bytes", "Size of pg_wal.", "database")
	standbyUp     = desc("standby_up", "Whether the standby could be asked, and is one.", "standby", "of")
	standbyStream = desc("standby_streaming", "Whether the standby streams.", "standby", "of")
	standbyPaused = desc("standby_replay_paused", "Whether replay is paused.", "standby", "of")
	standbyBytes  = desc("standby_lag_bytes", "WAL that the primary has written and the standby has not replayed.", "standby", "of")
	standbyLag    = desc("standby_lag_seconds", "Age of the last commit that the standby has replayed; 0 when there is no more.", "standby", "of")
	standbyKept   = desc("standby_slot_retained_bytes", "WAL that the primary keeps for the standby.", "standby", "of")
	loopRunning   = desc("loop_running", "Whether this process runs the loop.", "loop")
	loopFailures  = desc("loop_failures", "Failures of the loop in a row.", "loop")
)

// Describe sends nothing: the metrics depend on what there is.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the report.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	report := c.server.report(ctx)
	for _, s := range report.Standbys {
		gauge(standbyUp, truth(s.Role == standby.Following), s.Name, s.Of)
		gauge(standbyStream, truth(s.Receiver == "streaming"), s.Name, s.Of)
		gauge(standbyPaused, truth(s.Paused), s.Name, s.Of)
		if s.LagBytes != nil {
			gauge(standbyBytes, float64(*s.LagBytes), s.Name, s.Of)
		}
		if s.LagSeconds != nil {
			gauge(standbyLag, *s.LagSeconds, s.Name, s.Of)
		}
		if s.Slot != nil {
			gauge(standbyKept, float64(s.Slot.Retained), s.Name, s.Of)
		}
	}
	for _, a := range report.Archives {
		gauge(archiveReads, truth(a.Error == ""), a.Name, a.Of)
		gauge(archiveMissed, float64(a.Segments()), a.Name, a.Of)
	}
	for _, d := range report.Databases {
		gauge(databaseUp, truth(d.Error == ""), d.Name)
		for _, q := range d.Queues {
			gauge(queueNew, float64(q.New), d.Name, q.Name)
			gauge(queueTick, float64(q.LastTick), d.Name, q.Name)
			gauge(queueTickLag, q.TickerLag, d.Name, q.Name)
			gauge(queueBytes, float64(q.Bytes), d.Name, q.Name)
			for _, r := range q.Consumers {
				gauge(consumerLag, r.Lag, d.Name, q.Name, r.Name)
				gauge(consumerNew, float64(r.Pending), d.Name, q.Name, r.Name)
				gauge(consumerHolds, r.HoldsBack, d.Name, q.Name, r.Name)
			}
		}
		if a := d.Archiver; a != nil {
			gauge(walFailing, truth(a.Failing), d.Name)
			if a.LastAge != nil {
				gauge(walAge, *a.LastAge, d.Name)
			}
			if w := a.Waiting; w != nil {
				gauge(walWaiting, float64(w.Files), d.Name)
				gauge(walWaitingAge, w.Age, d.Name)
				gauge(walQueued, float64(w.Queued), d.Name)
				gauge(walBytes, float64(w.Bytes), d.Name)
			}
		}
		for _, n := range d.Nodes {
			gauge(nodeTick, float64(n.Tick), d.Name, n.Queue, n.Type)
			gauge(nodeFailing, truth(n.Error != ""), d.Name, n.Queue)
			gauge(nodePaused, truth(n.Paused), d.Name, n.Queue)
			gauge(nodeTwoRoots, truth(n.Rival != ""), d.Name, n.Queue)
			if n.Lag != nil {
				gauge(nodeLag, *n.Lag, d.Name, n.Queue)
			}
			for _, t := range n.Tables {
				gauge(tableInSync, truth(t.State == "ok"), d.Name, n.Queue, t.Name)
			}
		}
	}
	for _, l := range c.server.Loops() {
		gauge(loopRunning, truth(l.State == group.Running), l.Name)
		gauge(loopFailures, float64(l.Failures), l.Name)
	}
}

func truth(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}
