# Print the facts that depend on the server's options: `value NAME` prints an option's value.
# A running server has its folders, whatever its options are.
: "${server?}" "${user?}"
datadir=$(value datadir)
if [ -z "$server" ]; then
    for place in "$(value socket)" "$(value pid-file)"; do
        folder=${place%/*}
        case $folder in
            /run/*/*|/var/run/*/*) ;;
            /run/*mysql*|/run/*maria*|/var/run/*mysql*|/var/run/*maria*) [ -d "$folder" ] || say missing "$folder" ;;
        esac
    done
    if [ -d "$datadir" ]; then
        owner=$(stat -c %u:%g "$datadir")
        say owner "$owner"
        [ "${owner%:*}" = 0 ] || user=$owner
    fi
fi
say runs-as "$user"
