#!/usr/bin/env bash
# Work off the queue once, unattended, and leave behind what a person or the next job needs.
#
#   work.sh [REPOSITORY] [OUTPUT]
#
# From cron, every half hour, as a user that owns nothing but the clone:
#
#   */30 * * * *  HARNESS_KEY_FILE=$HOME/.config/harness/key  /srv/project/examples/ci/work.sh /srv/project
#
# HARNESS_BUDGET_USD  stop in good order at this cost (default 5)
# HARNESS_KEY_FILE    a file with the API key, readable by this user alone; or ANTHROPIC_API_KEY, as in CI
#
# Writes to OUTPUT (default: .harness/ci in the repository): work.json, work.log, report.html, branches.bundle, and, where
# the issues are a file that git tracks, issues.patch: what was claimed and commented, without which a fresh clone would do
# the same work again.
# Exits 0 when all that was tried was accepted or nothing was ready, 1 when something was not, 2 when something needs
# fixing first. cron mails what is printed, and nothing is printed but trouble.
set -euo pipefail

repository=$(cd "${1:-.}" && pwd)
output=${2:-$repository/.harness/ci}
mkdir -p "$output"

exec 9>"$output/lock"
if ! flock --nonblock 9; then
    exit 0 # the last one is still at it
fi

# The key goes into the harness's environment and no further: what an agent runs gets an environment of its own.
if [ -n "${HARNESS_KEY_FILE:-}" ]; then
    ANTHROPIC_API_KEY=$(<"$HARNESS_KEY_FILE")
    export ANTHROPIC_API_KEY
    unset HARNESS_KEY_FILE
fi

code=0
harness work --once --json --max-issues 20 --budget-usd "${HARNESS_BUDGET_USD:-5}" --repo "$repository" \
    >"$output/work.json" 2>"$output/work.log" || code=$?

if [ -e "$repository/.harness/journal.db" ]; then
    harness report --since 1d --repo "$repository" --output "$output/report.html" >/dev/null 2>>"$output/work.log" || true
fi

# Only finished work: `harness/ISSUE`, not the runs' own branches below it.
mapfile -t branches < <(git -C "$repository" for-each-ref --format='%(refname)' 'refs/heads/harness/*')
rm -f "$output/branches.bundle"
if [ ${#branches[@]} -gt 0 ]; then
    git -C "$repository" bundle create --quiet "$output/branches.bundle" "${branches[@]}"
fi

rm -f "$output/issues.patch"
if ! git -C "$repository" diff --quiet -- .beads; then
    git -C "$repository" diff --binary -- .beads >"$output/issues.patch"
fi

if [ $code -ne 0 ]; then
    echo "harness work ended with $code in $repository:" >&2
    tail -n 20 "$output/work.log" >&2
fi
exit $code
