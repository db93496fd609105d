#!/usr/bin/env bash
# The session that `tests/run terminal` records: the programs are the demo and the agent of the examples, and the human is a
# browser. Called with the folder that it may write to, inside the recorder.
set -euo pipefail
folder="$1"
examples="$PWD/target/debug/examples"
export PATH="$folder:$PATH"
ln -sf "$examples/agent" "$folder/agent"

type_and_run() {
    printf '\033[1;32m$\033[0m '
    for ((at = 0; at < ${#1}; at++)); do
        printf '%s' "${1:at:1}"
        sleep 0.03
    done
    sleep 0.4
    printf '\n'
    (cd "$folder" && eval "${2:-$1}") || true
    printf '\n'
    sleep 1.5
}

# Approves what the agent asks for, once it has printed the link.
human() {
    local link="" deadline=$((SECONDS + 60))
    until link="$(grep -o 'http://[^ ]*/approve/[^ ]*' "$folder/shown" 2>/dev/null)"; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "the agent showed no link" >"$folder/human"; return 1; }
        sleep 0.2
    done
    sleep 2
    node tests/clients/human.mjs allow "$link" >/dev/null 2>"$folder/human"
}

# With `localhost:3000` only: it is the URL of the README.
(cd "$folder" && exec "$examples/axum") >"$folder/demo" 2>&1 &
demo=$!
trap 'kill "$demo" 2>/dev/null' EXIT
until curl -so /dev/null http://localhost:3000/auth.md; do
    kill -0 "$demo" || { cat "$folder/demo"; exit 1; }
    sleep 0.1
done

url=http://localhost:3000/projects
type_and_run "curl -sI $url | grep -iE '^(HTTP|www-auth)'"
human &
human=$!
type_and_run "agent $url --reason 'List your projects'" \
    "agent $url --reason 'List your projects' 2> >(tee shown >&2)"
wait "$human" || { cat "$folder/human"; exit 1; }
type_and_run "agent http://localhost:3000/billing"
type_and_run "agent $url --logout"
sleep 2
touch "$folder/done"
