#!/bin/sh
# Holds the boot for gate = closed if ocp-tuned-boot itself cannot: it was killed, or does not start.
# Run by ocp-tuned.service, ocp-tuned-retry.service and ocp-tuned-go.service. It uses nothing of the program, which may be
# what is broken.
#
#   gate pause         exit status 0: the boot continues; another one: it is held. Pauses before it
#                      exits with another one.
#   gate stopped       remember that this stop of ocp-tuned.service is one that was requested
#   gate go            tell ocp-tuned.service that TuneD may run
#   gate word [ROOT]   print what boot.conf sets: open or closed
#   gate word '' FILE  the same for one file, as with --config

LC_ALL=C
export LC_ALL
run=/run/ocp-tuned-boot

# The last gate = in the files of boot.conf(5), in their order, or in the one of --config. As in
# requested/config.py, a mistake in another line does not open the gate. A carriage return also ends a
# line, and of a file larger than 1 MiB the beginning counts.
word() {
    root=$1
    shift
    [ $# -gt 0 ] || set -- "$root/usr/lib/ocp-tuned-boot/boot.conf" \
        "$root/etc/ocp-tuned-boot/boot.conf" "$root/etc/ocp-tuned-boot/boot.conf.d/"*.conf
    word=open
    for file; do
        [ -f "$file" ] || continue
        said=$(head -c 1048576 < "$file" | tr '\r' '\n' | sed -n -E "$pattern" | tail -n 1)
        word=${said:-$word}
    done
    echo "$word"
}
pattern='s/^[^[:alnum:]_=#;]*gate[^[:alnum:]_=]*=[^[:alnum:]_=]*(open|closed)([^[:alnum:]_].*)?$/\1/p'

# What the program was told: a drop-in may give ExecStart= an option --config.
told() {
    argv=$(systemctl show --value --property=ExecStart ocp-tuned.service |
        sed -n 's/.* argv\[\]=\(.*\) ; ignore_errors=.*/\1/p')
    case $argv in
        *' --config='*) file=${argv##* --config=} ;;
        *' --config '*) file=${argv##* --config } ;;
        *) word "" && return ;;
    esac
    word "" "$file"
}

# $MONITOR_* say how ocp-tuned.service failed (systemd.exec(5)). Exit status 78 is "nothing is
# requested on this node": with gate = closed, other errors in files do not end the program.
pause() {
    # A file that is being written may have been read half: if it was closed before, read it again.
    [ "$(told)" = closed ] ||
        { [ -e "$run/retried" ] && sleep 1 && [ "$(told)" = closed ]; } || exit 0
    [ "$MONITOR_SERVICE_RESULT $MONITOR_EXIT_CODE $MONITOR_EXIT_STATUS" != "exit-code exited 78" ] ||
        exit 0
    [ ! -f "$run/stopped" ] || [ "$(cat "$run/stopped")" != "$MONITOR_INVOCATION_ID" ] || exit 0
    echo "<3>gate = closed: ocp-tuned.service failed ($MONITOR_SERVICE_RESULT" \
        "$MONITOR_EXIT_STATUS). The boot is held, and ocp-tuned.service starts again in 5 s." \
        "To start the kubelet without the profile: systemctl stop ocp-tuned"
    # ocp-tuned-boot resets the failed state of ocp-tuned-retry.service if this exists.
    : > "$run/retried"
    sleep 5
    exit 1
}

go() {
    # Opened to read and to write, a FIFO never blocks, also if nobody waits.
    [ ! -p "$run/wake-up" ] || echo 1<> "$run/wake-up"
    # If ocp-tuned.service was skipped or has failed before, start it: something may be requested by
    # now, or the cause may be gone. Not if it was stopped on request, and with gate = closed
    # ocp-tuned-retry.service starts it.
    unit=$(systemctl show --property=ActiveState,ConditionResult,InvocationID,Job ocp-tuned.service)
    case $unit in
        *Job=[1-9]*) return ;;
        *ActiveState=failed* | *ActiveState=deactivating*)
            [ "$(told)" != closed ] || return 0
            [ ! -f "$run/stopped" ] ||
                ! echo "$unit" | grep -qx "InvocationID=$(cat "$run/stopped")" || return 0 ;;
        *ConditionResult=no*) ;;
        *) return ;;
    esac
    systemctl --no-block start ocp-tuned.service
}

stopped() {
    systemctl list-jobs --plain --no-legend | grep -Eq 'ocp-tuned\.service +stop ' || exit 0
    echo "$INVOCATION_ID" > "$run/stopped"
}

case $1 in
    pause) pause ;;
    stopped) stopped ;;
    go) go ;;
    word) shift; word "$@" ;;
esac
