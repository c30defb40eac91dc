: "${undo_wait_s:?}" "${data?}" "${first_person:?}" "${most_remarks:?}"
# For root, behind packages. If "force" is set, data that was added since is removed, too. A line of "data" has a folder
# of a server's data, a word for what others may have made in it, and the names that are the server's own.
: "${state?}" "${cache?}" "${marks?}" "${lock_limit_s?}" "${remark?}"
[ -d "$state" ] || exit 0
said=
# shellcheck disable=SC2046
fail() { echo "$1" $(printf '%s\n' "$said" | grep -v -e '^(Reading' -e '^Would remove' | head -n 4) >&2; exit 1; }
# shellcheck disable=SC2015
: > "$state/undone" && exec 9> "$state/lock" || fail "$state cannot be written to"
flock -w "$undo_wait_s" 9 || fail 'the installing goes on'
finish || fail 'nothing is removed, as what came with the packages cannot be distinguished from the rest (is the disk full?)'
# Try again while another program holds dpkg's lock.
dpkg_waits() {
    tries=0
    until said=$(dpkg "$@" 2>&1 < /dev/null 9>&-); do
        case $said in *locked*) ;; *) return 1 ;; esac
        [ $tries -lt "$lock_limit_s" ] || return 1
        tries=$((tries + 1))
        sleep 1
    done
}
there() { # how
    while read -r name how; do
        case $how:$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null) in
        *:?n* | *: | remove:?c*) ;;
        *) [ "$how" != "${1-$how}" ] || echo "$name" ;;
        esac
    done < "$state/planned"
}
if [ -e "$state/planned" ]; then
    # Names of packages contain no blanks.
    all=$(there)
    # Other packages may be unfinished, too, if their triggers for ours, such as ldconfig, have failed.
    unfinished=
    [ -e "$state/complete" ] && [ ! -e "$state/removing" ] || unfinished=yes
    # No here-document: a shell that has no room for it would skip this.
    printf '%s\n' "$data" | while read -r folder what own && [ -z "$force" ]; do
        if [ ! -d "$folder" ] || ! grep -qxs "$folder" "$state/var.new"; then continue; fi
        others=$(cd "$folder" && find . -mindepth 1 -maxdepth 1 -type d ! -name '#*') || fail "$folder cannot be read"
        others=$(printf '%s\n' "$others" | sed 's|^\./||')
        for name in $own; do others=$(printf '%s\n' "$others" | grep -vxF "$name"); done
        [ -z "$others" ] || fail "kept, as the server has other $what (${by_force-replacing it} drops them): $others"
    done || exit
    if [ -n "$all" ]; then
        # shellcheck disable=SC2086
        dpkg_waits --no-act --force-remove-reinstreq --remove $all || fail 'kept, as others need it:'
        : > "$state/removing"
        # shellcheck disable=SC2086
        dpkg_waits --force-remove-reinstreq --remove $all || fail 'cannot be removed:'
    fi
    purge=$(there purge)
    # shellcheck disable=SC2086
    [ -z "$purge" ] || dpkg_waits --force-remove-reinstreq --purge $purge || fail 'cannot be purged:'
    # apt-get's state of the packages. The last line shows that all lines were written.
    if [ -e "$marks" ]; then
        rm -f "$marks.tutorial-new"
        # shellcheck disable=SC2015
        awk -v names="$(sed 's/ .*//' "$state/planned")" '
            BEGIN {
                RS = ""; ORS = "\n\n"
                for (i = split(names, name, "\n"); i; i--) ours[name[i]] = 1
            }
            !($2 in ours)
            END { print "end" }' "$marks" > "$state/marks.all" &&
            [ "$(tail -n 2 "$state/marks.all")" = end ] && head -n -2 "$state/marks.all" > "$state/marks.new" &&
            { cmp -s "$state/marks.new" "$marks" || put "$state/marks.new" "$marks" "$marks"; } ||
            fail "what apt-get remembers of them in $marks cannot be written (is the disk full?), and is as it was"
        [ -s "$marks" ] || [ ! -e "$state/unmarked" ] || rm -f "$marks"
    fi
    [ -z "$unfinished" ] || dpkg_waits --configure -a || fail 'what was cut short cannot be finished:'
fi
if [ -e "$state/compared" ]; then
    # shellcheck disable=SC2015
    touch "$state/ours" "$state/accounted" && : > "$state/left" || fail "$state cannot be written to"
    # Packages add system accounts, which are removed; those of people, and of other programs, stay.
    remove() { # what name file command
        awk -F: -v name="$2" -v first="$first_person" '$1 == name && $3 < first { found = 1 } END { exit !found }' "$3" || return 0
        if grep -qxFe "$2" "$state/accounted"; then said=$("$4" "$2" 2>&1 9>&-) || fail "$1 $2 stays:"
        else echo "$1 $2" >> "$state/left" || fail "$state cannot be written to"; fi
    }
    while read -r name; do remove user "$name" /etc/passwd userdel; done < "$state/users.new"
    while read -r name; do remove group "$name" /etc/group groupdel; done < "$state/groups.new"
    # Deepest first. A path that belongs to another package by now stays.
    sort -r "$state/etc.new" "$state/var.new" > "$state/came" || fail "$state cannot be written to"
    leave() { echo "$path" >> "$state/left" || fail "$state cannot be written to"; }
    while read -r path; do
        if [ ! -e "$path" ] && [ ! -L "$path" ]; then continue; fi
        ! dpkg-query -S "$path" >/dev/null 2>&1 || continue
        if ! grep -qxFe "$path" "$state/ours"; then leave
        elif [ "${path#/var/}" != "$path" ]; then rm -rf "$path" || fail "$path stays"
        elif [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" 2>/dev/null || leave
        else rm -f "$path" || fail "$path stays"; fi
    done < "$state/came"
    # Report either a folder or its content: a folder of others, or the content that keeps one of ours from being
    # removed.
    awk -v remark="$remark" -v most="$most_remarks" '
        function above(path) { return sub("/[^/]*$", "", path) ? path : "" }
        FILENAME == ARGV[1] { ours[$0] = 1; next }
        { lines[++n] = $0; left[$0] = 1 }
        END {
            for (i = 1; i <= n; i++) {
                parent = above(lines[i])
                if (lines[i] in ours ? !(lines[i] in holds) : !(parent in left) || parent in ours)
                    if (++shown <= most)
                        print remark "not removed, as none of the packages that came names it: " lines[i]
                for (path = parent; path != ""; path = above(path)) holds[path] = 1
            }
            if (shown > most) print remark "not removed either: " shown - most " more"
        }' "$state/ours" "$state/left"
    # The backup copies that the tools for accounts make: restore them where the accounts are as before.
    for file in /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid; do
        saved=$state/accounts/${file##*/}
        rm -f "$file-.tutorial-new"
        cmp -s "$saved" "$file" || continue
        if [ ! -e "$saved-" ]; then rm -f "$file-"
        elif ! cmp -s "$saved-" "$file-"; then put "$saved-" "$file-" "$saved-" || fail "$file- is not as it was"; fi
    done
fi
rm -rf "$cache" "$state"
