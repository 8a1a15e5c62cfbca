#!/bin/sh
# harness hook, version 1: tells `harness work --watch` that an issue was created or changed.
#
# `harness init --hooks` puts this file at .beads/hooks/on_create and on_update; `harness init --hooks --remove` takes it
# away. bd calls it with the id and the event. All it does is leave an empty file named after the issue: nothing
# to half-write, nothing to fail, and many events of one issue are one file. It reads no standard input and starts no
# program. The hook that was here before runs next, with the same arguments, input and exit code.

harness=${0%/*}/../../.harness
case $1 in
'' | .* | *[!A-Za-z0-9._-]*) ;;
*)
    if [ -d "$harness/spool" ]; then
        : >"$harness/spool/$1.event"
    fi 2>/dev/null
    ;;
esac

if [ -x "$0.before-harness" ]; then
    exec "$0.before-harness" "$@"
fi
exit 0
