: "${limit_s:?}"
# For root, behind say and ask_root: print why a server does not answer its administrator.
refusal=$(ask_root 2>&1 >/dev/null)
case $? in
0) ;;
124) say refusal "no answer within $limit_s s" ;;
*) say refusal "$(printf '%s\n' "$refusal" | tail -n 1)" ;;
esac
