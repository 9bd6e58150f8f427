// Package chartcheck tests the Helm chart and the Kubernetes manifests: it renders, validates against the schemas of
// Kubernetes, and decodes what the Prometheus operator reads. It is a module of its own for what that links.
package chartcheck
