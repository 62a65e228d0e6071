#!/bin/sh
# Exit 0 while nginx answers. It only looks: giving the address up is the daemon's work.
exec curl --silent --show-error --fail --insecure --max-time 2 --output /dev/null https://127.0.0.1/healthz
