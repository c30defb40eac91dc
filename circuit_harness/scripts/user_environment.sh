# Set HOME, USER, LOGNAME and SHELL to the user's: a circuit that a service manager started as root has none of these,
# and one that was started by sudo may have another user's. Each command waits for this, so it starts no process where
# the first account and the server are root's, or where the environment is that of the owner of its own home folder.
IFS=: read -r _n _ _u _ _ _h _s </etc/passwd
if [ -O / ] && [ "$_u" = 0 ]; then
    :
elif [ -O "${HOME:-/}" ] && [ -n "${USER-}" ] && [ "${LOGNAME-}" = "$USER" ] && [ -n "${SHELL-}" ]; then
    _n=$USER _h=$HOME _s=$SHELL
else
    _u=$(id -u)
    _e=$(getent passwd "$_u")
    _n=${_e%%:*} _s=${_e##*:} _e=${_e%:*}
    _h=${_e##*:}
fi
USER=${_n:-$_u} LOGNAME=${_n:-$_u} HOME=${_h:-/} SHELL=${_s:-/bin/sh}
export USER LOGNAME HOME SHELL
unset _n _u _h _s _e _
