// Package browser runs the examples in a headless Chromium: make test-browser.
package browser
