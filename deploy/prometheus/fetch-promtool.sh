#!/bin/sh
# Puts Debian's promtool below FOLDER (default .local/promtool) without installing the Prometheus service, and prints
# its path. Where promtool is on the PATH already, that one is printed.
set -eu

if command -v promtool; then
    exit 0
fi
folder=${1:-.local/promtool}
tool=$folder/usr/bin/promtool
if [ ! -x "$tool" ]; then
    mkdir -p "$folder"
    cd "$folder"
    if ! apt-get download prometheus >&2 2>/dev/null; then
        # A new machine has no package lists yet.
        if [ "$(id -u)" -eq 0 ]; then apt-get update -q >&2; else sudo -n apt-get update -q >&2; fi
        apt-get download prometheus >&2
    fi
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
    rm prometheus_*.deb
    cd - >/dev/null
fi
echo "$tool"
