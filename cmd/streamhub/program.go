package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// version is the version of a release, set by the linker. Without it the build information has the revision.
var version string

// versionText returns the version of the program: that of a release, or the revision that a build in
// a clone was made of, or devel.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if version != "" || !ok {
		return firstOf(version, "devel")
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if revision == "" {
		return "devel"
	}
	text := "devel-" + revision[:min(12, len(revision))]
	if settings["vcs.modified"] == "true" {
		text += "+dirty"
	}
	return text
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// mainPackage is the path of the program in a clone.
const mainPackage = "./cmd/streamhub"

// invocation returns how the program was called, for commands that people paste into a shell in the
// same directory. The program that go run has built lies in a cache; a shell finds the one that is
// on PATH.
func invocation(arg0, executable string, lookPath func(string) (string, error)) string {
	const name = "streamhub"
	slashed := filepath.ToSlash(executable)
	if strings.Contains(slashed, "/go-build") {
		if _, err := os.Stat(filepath.Join(mainPackage, "main.go")); err == nil {
			return "go run " + mainPackage
		}
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
			return "go run " + info.Path + "@" + info.Main.Version
		}
		return "go run ."
	}
	if found, err := lookPath(name); err == nil && sameFile(found, executable) {
		return name
	}
	if !strings.ContainsRune(arg0, filepath.Separator) {
		arg0 = firstOf(executable, name)
	}
	return shellQuote(arg0)
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// shellQuote writes a word as a shell reads it.
func shellQuote(word string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("-_./:,+@%=", r) || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// programName is how this process was called.
func programName() string {
	executable, err := os.Executable()
	if err != nil {
		executable = ""
	}
	return invocation(os.Args[0], executable, exec.LookPath)
}
