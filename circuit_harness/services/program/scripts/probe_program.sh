: "${uid:?}" "${pid_file:?}" "${log:?}"
# For root, behind say: print whether a program runs, when it wrote to its log last, and whether the kernel killed it.
! grep -qs "^Uid:[[:space:]]*${uid}[[:space:]]" /proc/[0-9]*/status || say runs yes
# The program's user may have put a link in the place of either file.
wrote=$(stat -c %Y "$log" 2>/dev/null) && say wrote "$(date -u -d "@$wrote" '+%F %T UTC')"
pid=$(dd if="$pid_file" bs=16 count=1 iflag=nofollow,nonblock status=none 2>/dev/null)
case $pid in
'' | *[!0-9]*) ;;
*) ! dmesg 2>/dev/null | grep -F "Killed process $pid (" | grep -qiF 'out of memory' || say oom yes ;;
esac
