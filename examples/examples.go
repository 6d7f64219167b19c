// Package examples holds topologies that tests plan, apply and check for drift,
// and files for systemd and Kubernetes.
package examples

import "embed"

// Demo is the topology of "skytools demo".
//
//go:embed demo/topology.yaml
var Demo []byte

// Archive is the topology of "skytools demo archive".
//
//go:embed archive/demo.yaml
var Archive []byte

// Topologies are all of them, a directory each.
//
//go:embed */*.yaml
var Topologies embed.FS
