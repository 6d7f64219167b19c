package consume

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Collectors are the stats as metrics, for a registry of the program's own. The
// consumer is a label, so that several can share a registry.
func (c Config) Collectors() []prometheus.Collector {
	labels := prometheus.Labels{"queue": c.Queue, "consumer": c.Consumer, "member": c.Member}
	counter := func(name, help string, value interface{ Load() int64 }) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "pgq_consumer_" + name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value.Load()) })
	}
	s := c.Stats
	return []prometheus.Collector{
		counter("batches_total", "Batches finished.", &s.Batches),
		counter("events_total", "Events read.", &s.Events),
		counter("retried_events_total", "Events put aside, to come again.", &s.Retried),
		counter("errors_total", "Rounds that failed.", &s.Errors),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pgq_consumer_lag_seconds", ConstLabels: labels,
			Help: "Age of the last batch when it was done."},
			func() float64 { return time.Duration(s.Lag.Load()).Seconds() }),
	}
}
