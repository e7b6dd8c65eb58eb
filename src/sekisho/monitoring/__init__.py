"""What Prometheus and Grafana are given to watch a gateway with: rules, dashboards, an address to scrape.

In: a language, and the address of a gateway.
Out: the texts of files; both languages have the same panels, expressions and numbers.
May import: nothing of ours. No I/O, no clock; only the names in docs/reference/metrics.md.
Tests: tests/unit/monitoring; tests/component/monitoring, with a running gateway and a real Prometheus.
"""
