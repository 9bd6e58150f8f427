#!/bin/sh
# Debian passes "remove" or "upgrade", RPM the number of versions that stay installed.
set -e
case "${1:-}" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now streamhub.service || true
	fi
	;;
esac
