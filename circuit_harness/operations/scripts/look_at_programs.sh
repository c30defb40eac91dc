: "${rights?}" "${programs?}" "${versions?}" "${data?}"
# Behind say: print root's rights, programs, the versions of some, and existing folders of servers' data.
say login "$(id -un 2>/dev/null || id -u)"
if [ -n "$rights" ] || [ "$(id -u)" = 0 ]; then
    say rights yes
elif ! command -v sudo >/dev/null; then
    say refusal 'there is no sudo'
elif said=$(sudo -n true 2>&1); then
    say rights yes
else
    say refusal "$(printf '%s' "$said" | head -n 1)"
fi
for name in $programs apt-get; do
    ! command -v "$name" >/dev/null || say program "$name"
done
# Each word has the names of one program, the first of which counts.
for names in $versions; do
    for name in $(echo "$names" | tr , ' '); do
        command -v "$name" >/dev/null || continue
        say version "$name $("$name" --version 2>&1 | head -n 1)"
        break
    done
done
for folder in $data; do
    [ ! -e "$folder" ] || say data "$folder"
done
exit 0
