: "${unit:?}" "${names:?}"
# Behind say: print properties of a unit, and when systemd wrote what about it last. systemd forgets a unit that was
# stopped and that nothing needs; the journal does not.
TZ=UTC systemctl show -p "$(echo "$names" | tr ' ' ,)" "$unit.service" | sed 's/=/ /'
journalctl -q --no-pager -o short-unix -n 1 _PID=1 -u "$unit" 2>/dev/null | while read -r time _ _ message; do
    say unit-time "$(date -u -d "@${time%.*}" '+%F %T UTC')"
    say unit-message "$message"
done
