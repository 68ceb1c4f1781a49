//go:build tools

// Package tools names the commands that the lab builds, so that go.sum pins all that they need.
package tools

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
)
