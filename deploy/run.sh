#!/bin/sh
# Starts the function FUNCTION_TARGET from the artifact's folder: under the Lambda Web Adapter (on the loopback port that the
# adapter calls), or as the command of the container (HOST and PORT from the environment).
set -eu
cd "$(dirname "$0")"
export PYTHONPATH="$PWD/vendor:$PWD"
export PYTHONUNBUFFERED=1
# The embedding model computes one text at a time: too little for several threads, which would wait for each other.
export OPENBLAS_NUM_THREADS=1
# SWITCHBOARD_TRUSTED_PROXIES decides which proxies are trusted, not the server.
export FORWARDED_ALLOW_IPS=
exec python3 -m functions_framework \
    --target "$FUNCTION_TARGET" --source "functions/$FUNCTION_TARGET/main.py" \
    --host "${HOST:-127.0.0.1}" --port "${AWS_LWA_PORT:-${PORT:-8080}}"
