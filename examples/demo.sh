#!/bin/sh
# A tour of isinit in one terminal: sh examples/demo.sh PATH-OF-ISINIT
#
# Everything happens in a temporary directory, which is gone afterwards, as is the daemon. Each command is
# shown before its output, so that you can type it after us. What is claimed is looked at, with the PIDs that
# the services themselves wrote down: the exit status is 1 when isinit did something else.
set -u

BIN=$(readlink -f "${1:?usage: demo.sh PATH-OF-ISINIT}")
TABLE=$(readlink -f "$(dirname "$0")/demo.isinittab")
# Tenths of a second that the slowest step may take on a busy machine. Nothing waits this long when all is well.
PATIENCE=100
WRONG=0

main() {
    move_in
    first_call
    a_plan_and_a_switch
    a_respawn
    a_failed_test
    a_typing_error
    the_end
    if [ "$WRONG" != 0 ]; then
        say "$WRONG of the claims above did not hold."
        return 1
    fi
    say "That was all. The table: examples/demo.isinittab. The manual: docs/isinit.8, docs/isinittab.5."
}

first_call() {
    say "A table with two groups: a shop, and its mail."
    show cat demo.isinittab
    say "Is it right? 'check' needs no daemon, and would point at every mistake in it."
    run 0 check demo.isinittab
    say "The first call starts the daemon. The shop opens; the mail enters its initdefault level."
    type_out "export ISINIT_SOCKET=\$PWD/init.s"
    run 0 -c demo.isinittab shop open
    say "'tell --wait' returns when the switch has ended, with its verdict: the shop had to be swept first."
    run 0 tell --wait shop open
    run 0 tell --wait mail run
    for tag in store till queue; do holds "$tag runs" is_up "$tag"; done
    run 0 status
}

a_plan_and_a_switch() {
    store=$(pid_of store) till=$(pid_of till) queue=$(pid_of queue)
    say "What would the night bring? A plan changes nothing."
    run 0 plan shop night
    plan=$(isinit plan shop night)
    holds "the till would be stopped" matches "$plan" 'stop.*till'
    holds "the store room would be kept" matches "$plan" 'keep.*store'
    holds "the guard would be started" matches "$plan" 'start.*guard'
    holds "the till is still running" alive "$till"
    say "Now do it. The till takes a second to count its money, and is given it; then the guard takes
# a second until he is at his post (ready=3), and the lamp below him waits for that."
    run 0 tell --wait shop night
    holds "the till has ended, by itself, after counting" logged 'till counted'
    holds "it is gone" gone "$till"
    holds "the lamp was lit, last of all" lit_last
    show cat shop.log
    holds "the guard runs" is_up guard
    holds "the store room was in both levels: still PID $store" same store "$store"
    holds "the mail is another group: its queue is still PID $queue" same queue "$queue"
    run 0 status
}

a_respawn() {
    store=$(pid_of store)
    say "The store room dies of an accident."
    show kill -KILL "$store"
    holds "it was started again, with another PID" is_another store "$store"
    holds "once, no more" started_times store 2
    run 0 status shop
}

a_failed_test() {
    queue=$(pid_of queue)
    say "The mail is to be audited, but nobody approved: the test in that level fails, and so does the tell."
    run 1 tell --wait mail audit
    run 0 status mail
    holds "the group is 'fail'" matches "$(isinit status mail)" 'fail'
    holds "the rest of the level runs all the same" is_up report
    report=$(pid_of report)
    say "With --or-revert a switch is all or nothing: from 'run', the same failure leads back to 'run'."
    run 0 tell --wait mail run
    holds "the report has ended" gone "$report"
    run 1 tell --wait --or-revert mail audit
    holds "the report of that level does not run" gone "$(pid_of report)"
    say "Somebody approves. Entering a level again runs its tests again."
    show touch approved
    run 0 tell --wait mail audit
    holds "the report runs" is_up report
    holds "through all of it the queue was not touched: still PID $queue" same queue "$queue"
}

a_typing_error() {
    say "A typing error does not stop a group."
    run 3 tell shop nihgt
    holds "the guard is where he was" is_up guard
}

the_end() {
    say "Stop everything, and end the daemon."
    run 0 -k
    for tag in store guard queue report; do holds "$tag has ended" gone "$(pid_of "$tag")"; done
    holds "the daemon has ended" gone "$(cat daemon.pid)"
    run 5 status
}

# --- what is claimed, and how it is looked at

# Each service appends its PID to TAG.pids when it starts: the last line is the one that runs.
pid_of() {
    tail -n 1 "$1.pids" 2>/dev/null
}

alive() {
    kill -0 "$1" 2>/dev/null
}

gone() {
    ! alive "$1"
}

# It runs, and isinit says so too, with the same PID.
is_up() {
    pid=$(pid_of "$1")
    [ -n "$pid" ] && alive "$pid" && isinit status | grep -w -e "$1" | grep -q -w -e "$pid"
}

same() {
    [ "$(pid_of "$1")" = "$2" ] && is_up "$1"
}

is_another() {
    [ "$(pid_of "$1")" != "$2" ] && is_up "$1"
}

started_times() {
    [ "$(wc -l <"$1.pids")" -eq "$2" ]
}

logged() {
    grep -q -e "$1" shop.log
}

lit_last() {
    [ "$(tail -n 1 shop.log)" = 'lamp lit' ]
}

matches() {
    printf '%s\n' "$1" | grep -q -e "$2"
}

# holds CLAIM COMMAND...: looks until it is so, or for as long as patience lasts.
holds() {
    claim=$1
    shift
    if eventually "$@"; then
        printf '  %s %s\n' "${GREEN}yes${PLAIN}" "$claim"
    else
        printf '  %s %s\n' "${RED}NO ${PLAIN}" "$claim"
        WRONG=$((WRONG + 1))
    fi
}

eventually() {
    tries=$PATIENCE
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}

# --- the session on the terminal

say() {
    printf '\n%s# %s%s\n' "$CYAN" "$1" "$PLAIN"
}

type_out() {
    printf '%s$ %s%s\n' "$BOLD" "$1" "$PLAIN"
}

show() {
    type_out "$*"
    "$@"
}

isinit() {
    "$BIN" "$@"
}

# run STATUS ARGUMENTS...: isinit with these, which is to exit with that.
run() {
    expected=$1
    shift
    type_out "isinit $*"
    isinit "$@"
    status=$?
    [ "$status" = 0 ] || printf '  (exit status %s)\n' "$status"
    [ "$status" = "$expected" ] && return
    printf '  %s exit status %s, not %s\n' "${RED}NO ${PLAIN}" "$status" "$expected"
    WRONG=$((WRONG + 1))
}

move_in() {
    BOLD='' CYAN='' GREEN='' RED='' PLAIN=''
    if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
        BOLD=$(printf '\033[1m') CYAN=$(printf '\033[36m') PLAIN=$(printf '\033[0m')
        GREEN=$(printf '\033[32m') RED=$(printf '\033[31m')
    fi
    HOME_OF_DEMO=$(mktemp -d "${TMPDIR:-/tmp}/isinit-demo.XXXXXX") || exit 1
    trap move_out EXIT
    trap 'exit 1' HUP INT TERM
    cd "$HOME_OF_DEMO" || exit 1
    cp "$TABLE" demo.isinittab
    # The default of -s for every call below, as for everything that the daemon starts.
    ISINIT_SOCKET=$HOME_OF_DEMO/init.s
    export ISINIT_SOCKET
}

# Whatever happened above: the daemon goes, what it started goes, the directory goes. Nothing else is ended: the
# PIDs were written down here, and who has such a PID now has to carry the address of our daemon.
move_out() {
    "$BIN" -k >/dev/null 2>&1
    daemon=$(cat daemon.pid 2>/dev/null)
    [ -z "$daemon" ] || eventually gone "$daemon" || kill -KILL "$daemon"
    cat ./*.pids 2>/dev/null | while read -r pid; do
        if is_ours "$pid"; then kill -KILL -- "-$pid"; fi
    done
    cd / && rm -rf "$HOME_OF_DEMO"
}

is_ours() {
    grep -q -s -a -F -e "ISINIT_SOCKET=$ISINIT_SOCKET" "/proc/$1/environ"
}

main
