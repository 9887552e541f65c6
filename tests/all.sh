#!/usr/bin/env bash
# Every suite, by the command that is given: those that need no server in one process, all others in a second one beside it.
#
#   tests/all.sh .venv/bin/python -m pytest
#
# One process keeps hardly more than one core busy. What the first one says is printed behind the second one's words.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

alone=() served=()
for each in tests/*/; do
    compgen -G "${each}test_*.py" >/dev/null || continue
    case ${each} in
        tests/unit/ | tests/property/) alone+=("${each%/}") ;;
        *) served+=("${each%/}") ;;
    esac
done

said=$(mktemp)
"$@" "${alone[@]}" >"${said}" 2>&1 &
beside=$!
trap 'kill "${beside}" 2>/dev/null; wait "${beside}"; rm -f "${said}"' EXIT
trap 'exit 130' INT TERM

"$@" "${served[@]}"
code=$?
wait "${beside}"
first=$?
trap 'rm -f "${said}"' EXIT
cat "${said}"
exit $((code ? code : first))
