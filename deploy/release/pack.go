package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/app"
	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
	"github.com/rs/zerolog"
)

// parts are what a target's files are made of.
type parts struct {
	target
	version         string
	binary, notices string // paths
}

// base is the part that the names of all files of a target share.
func (p *parts) base() string { return "streamhub_" + p.version + "_" + p.os + "_" + p.arch }

// A file is one in an archive.
type file struct {
	name, path string
	mode       os.FileMode
}

// archive writes the binary with its licences, as a zip for Windows.
func (r *release) archive(p *parts) (err error) {
	extension, write := ".tar.gz", r.tar
	if p.os == "windows" {
		extension, write = ".zip", r.zip
	}
	out, err := os.Create(filepath.Join(r.out, p.base()+extension))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return write(out, []file{
		{p.base() + "/LICENSE", filepath.Join(r.root, "LICENSE"), 0o644},
		{p.base() + "/README.md", filepath.Join(r.root, "README.md"), 0o644},
		{p.base() + "/THIRD-PARTY-NOTICES", p.notices, 0o644},
		{p.base() + "/" + p.program(), p.binary, 0o755},
	})
}

// tar writes files as a compressed tar archive. Neither owners nor the times of the files are in it.
func (r *release) tar(out io.Writer, list []file) error {
	compressed, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(compressed)
	for _, f := range list {
		data, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(data)), ModTime: r.mtime, Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := t.Write(data); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), compressed.Close())
}

func (r *release) zip(out io.Writer, list []file) error {
	z := zip.NewWriter(out)
	for _, f := range list {
		data, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: r.mtime}
		header.SetMode(f.mode)
		w, err := z.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return z.Close()
}

// bill writes what the binary links, as CycloneDX. It has neither a random number nor the time of day.
func (r *release) bill(p *parts) (err error) {
	for _, setting := range p.settings() { // the generator asks the go command, which reads them
		name, value, _ := strings.Cut(setting, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	generator, err := app.NewGenerator(r.root, app.WithMainDir("cmd/streamhub"), app.WithLogger(zerolog.Nop()), app.WithIncludeStdlib(true))
	if err != nil {
		return err
	}
	bom, err := generator.Generate()
	if err != nil {
		return fmt.Errorf("bill of materials: %w", err)
	}
	bom.Metadata.Component.Version = p.version
	out, err := os.Create(filepath.Join(r.out, p.base()+".cdx.json"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6)
}

// packages writes a Debian and an RPM package with the service.
func (r *release) packages(p *parts) error {
	from := func(elements ...string) string {
		return filepath.Join(append([]string{r.root, "deploy", "package"}, elements...)...)
	}
	for _, format := range []string{"deb", "rpm"} {
		content := func(path, source, kind string, mode os.FileMode) *files.Content {
			return &files.Content{Source: source, Destination: path, Type: kind,
				FileInfo: &files.ContentFileInfo{Mode: mode, MTime: r.mtime, Owner: "root", Group: "root"}}
		}
		info := nfpm.WithDefaults(&nfpm.Info{
			Name: "streamhub", Arch: p.arch, Platform: "linux", Version: p.version, Section: "net", Priority: "optional",
			Maintainer: "The streamhub authors <maintainers@streamhub.invalid>", License: "Apache-2.0", MTime: r.mtime,
			Description: "Ordered, resumable streams over one Redis\nA gateway and a command line for streams that any instance appends to and reads.",
			Overridables: nfpm.Overridables{
				Contents: files.Contents{
					content("/usr/bin/streamhub", p.binary, "", 0o755),
					content("/usr/lib/systemd/system/streamhub.service", from("streamhub.service"), "", 0o644),
					content("/etc/streamhub/streamhub.yaml", from("streamhub.yaml"), "config|noreplace", 0o644),
					content("/etc/streamhub/environment", from("environment"), "config|noreplace", 0o600),
					content("/usr/share/bash-completion/completions/streamhub", from("completion", "bash"), "", 0o644),
					content("/usr/share/fish/vendor_completions.d/streamhub.fish", from("completion", "fish"), "", 0o644),
					content("/usr/share/doc/streamhub/copyright", filepath.Join(r.root, "LICENSE"), "", 0o644),
					content("/usr/share/doc/streamhub/THIRD-PARTY-NOTICES", p.notices, "", 0o644),
				},
				Scripts: nfpm.Scripts{PostInstall: from("postinstall.sh"), PreRemove: from("preremove.sh"), PostRemove: from("postremove.sh")},
				RPM:     nfpm.RPM{BuildHost: "localhost", Summary: "Ordered, resumable streams over one Redis", Group: "System Environment/Daemons"},
			},
		})
		if format == "deb" {
			info.Recommends = []string{"redis-server"}
		}
		if err := nfpm.PrepareForPackager(info, format); err != nil {
			return err
		}
		packager, err := nfpm.Get(format)
		if err != nil {
			return err
		}
		out, err := os.Create(filepath.Join(r.out, p.base()+"."+format))
		if err != nil {
			return err
		}
		if err := errors.Join(packager.Package(info, out), out.Close()); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
	}
	return nil
}
