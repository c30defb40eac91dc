: "${database:?}" "${objects:?}" "${file:?}" "${drop:?}" "${check_file:?}"
# For root: "client" is the client of the running server. Whatever is in the database and not in the list in the file
# was added by somebody else, and is dropped only if "force" is set. Before the list existed, nobody could add anything.
tries=0
until others=$(client -e "$objects" 2>/dev/null) || [ $tries -ge 400 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
[ $tries -lt 400 ] || others=$(client -e "$objects") || exit
if [ -e "$file" ]; then others=$(printf '%s\n' "$others" | grep -vxFf "$file"); else others=''; fi
if [ -n "$others" ] && [ -z "$force" ]; then
    # shellcheck disable=SC2086
    echo "kept, as database $database has what is not of this deployment:" $others "(${by_force-replacing it} drops them)" >&2
    exit 1
fi
client -e "$drop" && rm -f "$check_file" "$file" "$file".*
