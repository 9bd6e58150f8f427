#!/bin/sh
# The service is not started by the installation: it needs to be told where Redis is.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	# After an upgrade, a service that runs goes on with the new program.
	systemctl try-restart streamhub.service || true
fi
