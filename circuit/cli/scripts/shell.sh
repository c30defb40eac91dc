# Run a terminal, and pass it on through the blocks of 32,000 bytes in which circuit servers pass on streams.
#
# $1 is the script that runs in the terminal. The first block of standard input is one line: rows, columns and TERM; what
# follows is typed. NULs fill up blocks, and are removed. Standard error gets "terminal /dev/pts/N" at the start and
# "ended" at the end, each as a block, and otherwise messages. The exit status is that of the shell in the terminal.
#
# The end of standard input, which the loss of the client also brings about, ends all processes of the terminal.
PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
export PATH

lacks=
for program in script dd head stdbuf stty timeout tr tty; do
    command -v "$program" >/dev/null 2>&1 || lacks="$lacks${lacks:+, }$program"
done
if [ -n "$lacks" ]; then
    echo "the host lacks what a shell needs: $lacks; Debian and Ubuntu have them in bsdutils and coreutils" >&2
    exit 127
fi

# A client that was lost before it sent anything leaves its input open.
line=$(timeout 60 head -c 32000 | tr -d '\000')
# shellcheck disable=SC2086
set -- "$1" $line
if [ $# -ne 4 ]; then
    echo "no client sent the size of its terminal within 60 s" >&2
    exit 1
fi
TERM=$4
export TERM

# A server that a script started in its background ignores interrupts, and so would whatever runs in the terminal. On the
# other hand, no interrupt that is typed early may end the shell before it is there.
defaults="env --default-signal=HUP,INT,QUIT,TERM"
if $defaults true 2>/dev/null; then
    trap '' INT QUIT
else
    defaults=
fi
in_terminal="rows=$2 columns=$3 defaults='$defaults'
$1"

send_blocks() {
    exec dd bs=32000 conv=sync 2>/dev/null
}

processes() { # of the terminal's session, without those that have ended
    for stat in /proc/[0-9]*/stat; do
        { read -r process <"$stat"; } 2>/dev/null || continue
        # Behind the name, which may hold anything: state, parent, group, session.
        # shellcheck disable=SC2086
        set -- "${process%% *}" ${process##*) }
        if [ "$5" = "$session" ] && [ "$2" != Z ]; then echo "$1"; fi
    done
}

end_session() {
    tries=0
    # Process ids, with blanks between; a process may need a moment to end after HUP.
    # shellcheck disable=SC2086
    while [ "$tries" -lt 20 ] && left=$(processes) && [ -n "$left" ]; do
        if [ "$tries" -eq 0 ]; then
            kill -HUP $left
            kill -CONT $left
        elif [ "$tries" -eq 10 ]; then
            kill -KILL $left
        elif [ "$tries" -eq 15 ]; then
            # A process of another user cannot be killed, but gets HUP when its terminal is gone.
            kill -KILL "$emulator"
        fi
        tries=$((tries + 1))
        sleep 0.1
    done 2>/dev/null
}

control() { # what the others report, until all of them have ended
    status=1 session='' input='' output='' closed='' flushed=''
    while read -r what value parent; do
        case $what in
        input) input=$value ;;
        output) output=$value ;;
        session) session=$value emulator=$parent ;;
        terminal) echo "terminal $value" | send_blocks >&2 ;;
        status) status=$value ;;
        flushed) flushed=yes ;;
        closed) closed=yes ;;
        esac
        # Only while the input is read does the loss of the client show: it is read until the client has all output.
        if [ -n "$flushed" ] && [ -z "$closed" ]; then
            kill "$input" 2>/dev/null
        elif [ -n "$closed" ]; then
            [ -z "$session" ] || end_session
            # What a lost client does not read would hold it up forever.
            [ -z "$output" ] || [ -n "$flushed" ] || kill "$output" 2>/dev/null
        fi
    done
    echo ended | send_blocks >&2
    exit "$status"
}

# 3 is the client's input, 4 leads to control, 5 to the client, 6 is what the terminal prints.
exec 3<&0 5>&1
{
    {
        stdbuf -o0 tr -d '\000' <&3 3<&- 4>&- 5>&- 2>/dev/null &
        echo "input $!" >&4
        wait
        echo closed >&4
    } | {
        SHELL=/bin/sh script -qfec "$in_terminal" /dev/null 3<&- 5>&-
        echo "status $?" >&4
    } | {
        exec 6<&0 </dev/null
        send_blocks <&6 >&5 3<&- 4>&- 5>&- 6<&- &
        echo "output $!" >&4
        exec 6<&-
        wait
        echo flushed >&4
    }
} 4>&1 | control 3<&- 5>&-
