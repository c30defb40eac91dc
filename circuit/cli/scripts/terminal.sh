: "${rows:?}" "${columns:?}" "${defaults?}"
# Report the terminal to descriptor 4, set it up, and become the login shell of the user. The circuit server may have
# been started without HOME, USER or a locale, or with those of another user.
printf 'session %s %s\nterminal %s\n' "$$" "$PPID" "$(tty)" >&4
exec 4>&-
stty sane rows "$rows" columns "$columns"
stty iutf8 2>/dev/null
unset rows columns
umask 022

number=$(id -u)
account=$(getent passwd "$number" 2>/dev/null || grep "^[^:]*:[^:]*:$number:" /etc/passwd)
set -f
IFS=:
# shellcheck disable=SC2086
set -- $account
unset IFS
set +f
USER=${1:-$number} LOGNAME=${1:-$number} HOME=${6:-/} SHELL=${7:-/bin/sh}
case $SHELL in
*/nologin | */false) SHELL=/bin/bash ;;
esac
[ -x "$SHELL" ] || SHELL=/bin/sh
[ -n "${LC_ALL-}${LC_CTYPE-}${LANG-}" ] || LANG=C.UTF-8
export USER LOGNAME HOME SHELL LANG
unset number account
cd "$HOME" 2>/dev/null || cd /
# Words, with blanks between.
# shellcheck disable=SC2086
exec $defaults "$SHELL" -l
