#!/usr/bin/env bash
# All tests, by the command that is given: those that want the run's servers, and in a second process beside it the others.
#
#   tests/all.sh .venv/bin/python -m pytest
#
# One process keeps hardly more than one core busy. What the second one says is printed behind the first one's words.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

said=$(mktemp)
"$@" --servers unwanted >"${said}" 2>&1 &
beside=$!
trap 'kill "${beside}" 2>/dev/null; wait "${beside}"; rm -f "${said}"' EXIT
trap 'exit 130' INT TERM

"$@" --servers wanted
code=$?
wait "${beside}"
second=$?
trap 'rm -f "${said}"' EXIT
cat "${said}"
exit $((code ? code : second))
