package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"distributor/engine/status"
)

func registry(of func() *status.Status) *prometheus.Registry {
	r := prometheus.NewRegistry()
	c := &collector{of: of}
	for _, f := range families {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, f.labels, nil))
	}
	r.MustRegister(c, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// collector is a prometheus.Collector that reads one Status for each scrape.
type collector struct {
	of    func() *status.Status
	descs []*prometheus.Desc // of families
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.of()
	for i, f := range families {
		f.each(s, func(v any, labels ...string) { ch <- metric(c.descs[i], f.kind, v, labels) })
	}
}

func metric(desc *prometheus.Desc, kind prometheus.ValueType, v any,
	labels []string) prometheus.Metric {
	var m prometheus.Metric
	var err error
	switch v := v.(type) {
	case int:
		m, err = prometheus.NewConstMetric(desc, kind, float64(v), labels...)
	case int64:
		m, err = prometheus.NewConstMetric(desc, kind, float64(v), labels...)
	case uint64:
		m, err = prometheus.NewConstMetric(desc, kind, float64(v), labels...)
	case float64:
		m, err = prometheus.NewConstMetric(desc, kind, v, labels...)
	case status.Histogram:
		if len(v.Counts) != len(v.Bounds)+1 {
			err = fmt.Errorf("metrics: a histogram of %d bounds has %d counts", len(v.Bounds), len(v.Counts))
			break
		}
		buckets := make(map[float64]uint64, len(v.Bounds))
		for i, bound := range v.Bounds {
			buckets[bound] = uint64(v.Counts[i])
		}
		m, err = prometheus.NewConstHistogram(desc, uint64(v.Counts[len(v.Bounds)]), v.Sum, buckets,
			labels...)
	default:
		err = fmt.Errorf("metrics: a value of type %T", v)
	}
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}
