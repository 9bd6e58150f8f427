// Package testazurite runs Azurite, the emulator of Azure Storage, for tests. It is installed with
// npm into the user's cache, once for all packages.
package testazurite

import (
	"bufio"
	"context"
	_ "embed" // what npm installs
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	version = "3.35.0"
	// Account and key are those that every Azurite has; they protect nothing.
	Account = "devstoreaccount1"
	Key     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

	installTime = 5 * time.Minute
	startTime   = time.Minute
)

var (
	//go:embed package.json
	manifest []byte
	//go:embed package-lock.json
	lock []byte
)

// Start starts an Azurite that keeps its data in memory, and returns its connection string. It ends
// with the test.
func Start(t testing.TB) string {
	t.Helper()
	dir, err := install(t)
	if err != nil {
		t.Fatalf("Azurite cannot be installed: %v\nThe tests of the Azure archive need Node.js 20 and npm; scripts/need-node says how to get them.", err)
	}
	cmd := exec.Command("node", filepath.Join(dir, "node_modules", "azurite", "dist", "src", "azurite.js"),
		"--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry",
		"--blobPort", "0", "--tablePort", "0", "--queuePort", "0")
	cmd.Dir = t.TempDir() // for its logs
	out, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = cmd.Stdout
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
	urls, err := listening(out)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;BlobEndpoint=%s/%s;TableEndpoint=%s/%s;",
		Account, Key, urls["Blob"], Account, urls["Table"], Account)
}

// listening waits until the services say where they are.
func listening(out io.ReadCloser) (map[string]string, error) {
	late := time.AfterFunc(startTime, func() { _ = out.Close() })
	defer late.Stop()
	urls := map[string]string{}
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		service, url, ok := strings.Cut(lines.Text(), " service is successfully listening at ")
		if f := strings.Fields(service); ok && len(f) > 0 {
			urls[f[len(f)-1]] = strings.TrimSpace(url)
		}
		if len(urls) == 3 {
			return urls, nil
		}
	}
	return nil, fmt.Errorf("azurite did not start:\n%s", strings.Join(said, "\n"))
}

// install returns the directory where it is installed. Of several processes that install it at once
// one wins.
func install(t testing.TB) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "streamhub", "azurite-"+version)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	draft, err := os.MkdirTemp(filepath.Dir(dir), "azurite-draft-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(draft)
	if err := errors.Join(
		os.WriteFile(filepath.Join(draft, "package.json"), manifest, 0o644),
		os.WriteFile(filepath.Join(draft, "package-lock.json"), lock, 0o644),
	); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(t.Context(), installTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	cmd.Dir = draft
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, said)
	}
	if err := os.Rename(draft, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return "", err
		}
	}
	return dir, nil
}
