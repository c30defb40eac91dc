: "${nobody:?}" "${kept:?}"
# For root, behind say and guard. `say NAME VALUE` prints a line; `program` is the server's, or empty. This sets
# `server` to the id of the server's process if it runs, and `starter` to that of the process that has started it: the
# server itself, or mysqld_safe if `watched` is set. mysqld_safe restarts the server whenever it crashes, ends with it,
# and must be started with it. `user` is the user, UID:GID, that the server runs as, or would run as: never root, unless
# root runs it.
: "${program?}"
[ -z "$program" ] || say program "$program"
manager='' active='' server='' unit_user=''
if [ -d /run/systemd/system ]; then
    # A masked unit counts only where there is no other.
    for loaded in loaded masked; do
        for unit in mariadb mysql mysqld; do
            [ -z "$manager" ] || break
            unit_state='' unit_active='' unit_process='' unit_owner='' unit_enabled=''
            while IFS='=' read -r property value; do
                case $property in
                LoadState) unit_state=$value ;;
                ActiveState) unit_active=$value ;;
                MainPID) unit_process=$value ;;
                User) unit_owner=$value ;;
                UnitFileState) unit_enabled=$value ;;
                esac
            done <<PROPERTIES
$(systemctl show -p LoadState,ActiveState,MainPID,User,UnitFileState $unit.service 2>/dev/null)
PROPERTIES
            [ "$unit_state" = $loaded ] || continue
            manager=systemd unit_user=$unit_owner
            say service "systemd $unit"
            # Of others, such as those of init scripts, it is not what is-enabled prints.
            case $unit_enabled in
            enabled | disabled) say enabled "$unit_enabled" ;;
            *) say enabled "$(systemctl is-enabled $unit.service 2>/dev/null)" ;;
            esac
            case $unit_active in active | reloading | refreshing) ;; *) continue ;; esac
            active=yes
            server=$unit_process
            # The unit of an init script has no main process, and that of some units is a watching process.
            [ "/proc/$server/exe" -ef "$program" ] || server=
        done
    done
else
    for unit in mariadb mysql mysqld; do
        # A container may have init scripts that nothing runs.
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
    # A server that was upgraded since its start runs a deleted program.
    running=$(find /proc/[0-9]*/exe -maxdepth 0 -lname "$program (deleted)" 2>/dev/null | cut -d / -f 3)
    for process in /proc/[0-9]*; do
        [ "$process/exe" -ef "$program" ] && running="$running ${process#/proc/}"
    done
    # Any user can run the program. The server runs as root or as its package's user, whose arguments can be trusted.
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
# The real user and group of a process, also of one that runs a setuid program.
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
    # The server's user can start a setuid program, with any arguments, and a program below it.
    # shellcheck disable=SC2034
    [ ! -u "/proc/$starter/exe" ] || { starter=$server watched=''; }
else
    for name in $unit_user mysql; do
        account=$(getent passwd "$name") || continue
        account=${account#*:*:} uid=${account%%:*} account=${account#*:}
        [ "$uid" != 0 ] || continue
        user=$uid:${account%%:*}
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
        # A file that the process has open to write, not one that it has open to read.
        case $(awk '/^flags:/ { print $2 }' "/proc/$starter/fdinfo/2") in
            *[12]) [ ! -f "$output" ] || say output "$output" ;;
        esac
        # An init for a single program, such as tini -- mysqld, ends with that program.
        case $starter:$keeper:$(words 1) in
            1:*|*:1:*mysqld*|*:1:*mariadbd*) say keeper "1 $(cat /proc/1/comm)" ;;
            *:[01]:*) ;;
            *) say keeper "$keeper $(cat "/proc/$keeper/comm")" ;;
        esac
        # Still the same process as at the beginning of the look, so that all facts are about one process.
        if [ -u "/proc/$starter/exe" ] || [ "$starter" != "$server" ] && [ "$(parent "$server")" != "$starter" ]; then
            say several "$server $starter"
        fi
    fi
fi
[ -z "$active$server" ] || say active yes
know_user "$user"
