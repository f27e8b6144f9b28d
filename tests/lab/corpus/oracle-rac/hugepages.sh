#!/bin/sh
# No transparent hugepages, whatever is below.
. /usr/lib/tuned/functions

start() {
    echo never > /sys/kernel/mm/transparent_hugepage/defrag
    return 0
}

stop() {
    return 0
}

verify() {
    grep -q '\[never\]' /sys/kernel/mm/transparent_hugepage/defrag
}

process "$@"
