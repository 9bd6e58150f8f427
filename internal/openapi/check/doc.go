// Package check holds the OpenAPI document of the gateway against its handlers: a module of its own, so
// that the validator is not linked by anything else.
package check
