: "${database:?}" "${objects:?}" "${file:?}" "${drop:?}" "${check_file:?}"
# For root: "client" is the server's own, which runs. What came to be in the database since the list in the file was made is
# somebody's, and goes only where "force" is set. Without the list nobody could have made anything yet.
tries=0
until client -e 'SELECT 1' >/dev/null 2>&1 || [ $tries -ge 100 ]; do
    sleep 0.2
    tries=$((tries + 1))
done
others=$(client -e "$objects") || exit
if [ -e "$file" ]; then others=$(printf '%s\n' "$others" | grep -vxFf "$file"); else others=''; fi
if [ -n "$others" ] && [ -z "$force" ]; then
    # shellcheck disable=SC2086
    echo "kept, as database $database has what is not of this deployment:" $others "(--replace drops them)" >&2
    exit 1
fi
client -e "$drop" && rm -f "$check_file" "$file" "$file".*
