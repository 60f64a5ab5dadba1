#!/bin/busybox sh
# The machine's first and only program: runs every case of /cases, hands /results out as a tar file on its second
# serial port, says how it went in the last line of the first, and turns the machine off.

/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /results /tmp
# Seconds. A case takes about ten; one that hangs is ended, so that the others and its messages are seen.
patience=120
failed=
seconds=
# churn.c is for real processors.
export CHURN_THREADS=2 CHURN_PAIRS=5000

# await WORD FILE PID: until a line of the file starts with the word. Fails when its writer is gone.
await() {
    tenths=$((patience * 10))
    until grep -q "^$1" "$2"; do
        tenths=$((tenths - 1))
        # The link is there for as long as the process has memory; its folder stays until it is waited for.
        [ $tenths -gt 0 ] && [ -e "/proc/$3/exe" ] || return 1
        usleep 100000
    done
}

# ended NAME AGENT PROGRAM: the exit codes of a case.
ended() {
    if [ "$2" != 0 ] || [ "$3" != 0 ] || ! grep -q '^done' "/results/$1.truth"; then
        failed="$failed $1"
        echo "$1: leaktrace ended with $2, the program with $3; stderr of leaktrace:"
        cat "/results/$1.stderr"
        return
    fi
    echo "$1: $(tr -d '\n ' <"/results/$1.json" | grep -o '"totals":{[^}]*}')"
}

# launched NAME PROGRAM FLAGS: from the first instruction. The lines for which the program waits lie ready.
launched() {
    name=$1 program=$2
    shift 2
    printf '\n\n\n\n' >/lines
    timeout $patience /leaktrace --quiet --json "/results/$name.json" "$@" -- "/programs/$program" \
        </lines >"/results/$name.truth" 2>"/results/$name.stderr"
    ended "$name" $? 0
}

# attached NAME PROGRAM FLAGS: to the running program, which waits until the probes are there, and ends by itself.
attached() {
    traced "$@" --exact
}

# in_windows NAME PROGRAM FLAGS: the same with a program that works until it is told to end.
in_windows() {
    seconds=40
    traced "$@"
    seconds=
}

# traced NAME PROGRAM FLAGS
traced() {
    name=$1 program=$2
    shift 2
    rm -f /go
    mkfifo /go
    touch "/results/$name.truth" "/results/$name.stderr"
    # Opened for both directions, which waits for no one.
    exec 3<>/go
    "/programs/$program" </go >"/results/$name.truth" &
    pid=$!
    await ready "/results/$name.truth" $pid
    timeout $patience /leaktrace --quiet --pid $pid --json "/results/$name.json" "$@" 2>"/results/$name.stderr" &
    # busybox's timeout becomes the program itself; what watches the time is another process.
    agent=$!
    if await attached "/results/$name.stderr" $agent; then
        echo >&3
        if [ -n "$seconds" ]; then
            sleep "$seconds"
            echo >&3
        fi
        await done "/results/$name.truth" $pid
    fi
    kill -TERM $agent 2>/dev/null
    wait $agent
    code=$?
    # Both lines that it may still wait for.
    printf '\n\n' >&3
    wait $pid
    ended "$name" $code $?
}

. /cases

# What the kernel complains of is a failure, whatever the numbers say.
if dmesg | grep -E 'WARNING:|BUG:|Oops|general protection|Call Trace'; then
    failed="$failed kernel-log"
fi
stty -F /dev/ttyS1 raw
tar -c -C /results . >/dev/ttyS1
if [ -z "$failed" ]; then
    echo "leaktrace-kernel-test: OK on $(uname -r)"
else
    echo "leaktrace-kernel-test: FAILED on $(uname -r):$failed"
fi
poweroff -f
