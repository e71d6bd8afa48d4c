// A program that checks dashboards with Grafana's schema, which Grafana publishes under the Apache licence.
module weir.example/cluster/board

go 1.26.0

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
