#!/bin/sh
# Starts one function, FUNCTION_TARGET, from the artifact's folder: the handler under the Lambda Web Adapter (on the port
# that the adapter calls, for nobody else to reach) and the command of the container (HOST and PORT from outside).
set -eu
cd "$(dirname "$0")"
export PYTHONPATH="$PWD/vendor:$PWD"
export PYTHONUNBUFFERED=1
# Who may speak for a caller's address is SWITCHBOARD_TRUSTED_PROXIES' to say, not the server's.
export FORWARDED_ALLOW_IPS=
exec python3 -m functions_framework \
    --target "$FUNCTION_TARGET" --source "functions/$FUNCTION_TARGET/main.py" \
    --host "${HOST:-127.0.0.1}" --port "${AWS_LWA_PORT:-${PORT:-8080}}"
