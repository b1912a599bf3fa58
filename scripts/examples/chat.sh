#!/usr/bin/env bash
# Streams an answer in both dialects. Usage: BASE=http://127.0.0.1:8081 KEY=apk_... MODEL=... scripts/examples/chat.sh
set -euo pipefail
: "${BASE:=http://127.0.0.1:8081}" "${KEY:?the client key}" "${MODEL:=sim-8-20}"

curl --fail-with-body -sSN "$BASE/v1/chat/completions" -H "authorization: Bearer $KEY" -H 'content-type: application/json' \
  -d '{"model": "'"$MODEL"'", "stream": true, "messages": [{"role": "user", "content": "Say hello."}]}'

curl --fail-with-body -sSN "$BASE/v1/messages" -H "x-api-key: $KEY" -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \
  -d '{"model": "'"$MODEL"'", "stream": true, "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}]}'
