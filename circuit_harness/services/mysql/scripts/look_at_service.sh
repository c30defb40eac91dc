: "${nobody:?}" "${kept:?}"
# For root, behind say and guard. `say NAME VALUE` prints a line; `program` is the server's, or nothing. Leaves in `server` the number of its
# process where it runs, and in `starter` that of what it was started by: itself, or mysqld_safe where `watched` is set,
# which starts it again whenever it crashes, goes with it, and has to come back with it; and in `user` whom it runs as,
# UID:GID, or would: never root where root does not run it.
: "${program?}"
[ -z "$program" ] || say program "$program"
manager='' active='' server=''
if [ -d /run/systemd/system ]; then
    # A unit that is masked tells of a service only where there is no other.
    for loaded in loaded masked; do
        for unit in mariadb mysql mysqld; do
            [ -z "$manager" ] || break
            [ "$(systemctl show -p LoadState --value $unit.service 2>/dev/null)" = $loaded ] || continue
            manager=systemd named=$unit
            say service "systemd $unit"
            say enabled "$(systemctl is-enabled $unit.service 2>/dev/null)"
            systemctl is-active --quiet $unit.service || continue
            active=yes
            server=$(systemctl show -p MainPID --value $unit.service)
            # That of an init script that systemd runs has no main process, and another's is a watchman.
            [ "/proc/$server/exe" -ef "$program" ] || server=
        done
    done
else
    for unit in mariadb mysql mysqld; do
        # In a container scripts lie about that nothing runs.
        case $(cat /proc/1/comm) in init|openrc-init) ;; *) break ;; esac
        [ -x /etc/init.d/$unit ] || continue
        manager=sysv
        say service "sysv $unit"
        # shellcheck disable=SC2012
        say enabled "$(ls -d /etc/rc[0-6S].d/[SK][0-9][0-9]$unit 2>/dev/null | tr '\n' ' ' | sed 's/ $//')"
        break
    done
fi
if [ -n "$program" ] && [ -z "$server" ] && [ "$manager$active" != systemd ]; then
    # One that was upgraded since runs what is deleted.
    running=$(find /proc/[0-9]*/exe -maxdepth 0 -lname "$program (deleted)" 2>/dev/null | cut -d / -f 3)
    for process in /proc/[0-9]*; do
        [ "$process/exe" -ef "$program" ] && running="$running ${process#/proc/}"
    done
    # Anybody can run the program. The server is root's or its package's user's, whose arguments can be trusted.
    set --
    for process in $running; do
        case $(awk '/^Uid:/ { print $3 }' "/proc/$process/status" 2>/dev/null) in
            0 | "$(id -u mysql 2>/dev/null || echo 0)") set -- "$@" "$process" ;;
        esac
    done
    if [ $# = 1 ]; then
        server=$1
    elif [ $# -gt 1 ] && [ "$manager" != systemd ]; then
        say several "$*"
    fi
fi
# The user who began a process: one that runs setuid is still his.
ids() { awk '/^Uid:/ { uid = $2 } /^Gid:/ { gid = $2 } END { print uid ":" gid }' "/proc/$1/status"; }
parent() { awk '/^PPid:/ { print $2 }' "/proc/$1/status"; }
words() { tr '\0' ' ' < "/proc/$1/cmdline"; }
starter=$server watched='' user=''
if [ -n "$server" ]; then
    user=$(ids "$server")
    above=$(parent "$server")
    case $above:$(words "$above" 2>/dev/null) in
        *mysqld_safe*|*mysqld-safe*|*mariadbd-safe*) starter=$above watched=yes ;;
    esac
    # The server's user can start what becomes root, with words of his own, and a program below it.
    # shellcheck disable=SC2034
    [ ! -u "/proc/$starter/exe" ] || { starter=$server watched=''; }
else
    unit_user=
    [ -z "$named" ] || unit_user=$(systemctl show -p User --value "$named.service" 2>/dev/null)
    for name in $unit_user mysql; do
        [ "$(id -u "$name" 2>/dev/null || echo 0)" != 0 ] || continue
        user=$(id -u "$name"):$(id -g "$name")
        break
    done
    user=${user:-$nobody}
fi
if [ -z "$manager" ] && [ -n "$program" ]; then
    say service "none ${program##*/}"
    if [ -n "$server" ]; then
        keeper=$(parent "$starter")
        say command "$(base64 -w0 "/proc/$starter/cmdline")"
        say owner "$(ids "$starter")"
        tr '\0' '\n' < "/proc/$starter/environ" | grep -E "$kept" | sed 's/^/variable /'
        output=$(readlink "/proc/$starter/fd/2")
        # What it could write into by itself, not what it has open to read.
        case $(awk '/^flags:/ { print $2 }' "/proc/$starter/fdinfo/2") in
            *[12]) [ ! -f "$output" ] || say output "$output" ;;
        esac
        # An init for one program ends with it: tini -- mysqld.
        case $starter:$keeper:$(words 1) in
            1:*|*:1:*mysqld*|*:1:*mariadbd*) say keeper "1 $(cat /proc/1/comm)" ;;
            *:[01]:*) ;;
            *) say keeper "$keeper $(cat "/proc/$keeper/comm")" ;;
        esac
        # The same as when the look began, so that all of this is of one process.
        if [ -u "/proc/$starter/exe" ] || [ "$starter" != "$server" ] && [ "$(parent "$server")" != "$starter" ]; then
            say several "$server $starter"
        fi
    fi
fi
[ -z "$active$server" ] || say active yes
