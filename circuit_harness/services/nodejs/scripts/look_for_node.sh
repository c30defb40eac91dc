: "${nodes:?}"
# Behind say and find_nobody: Node.js, and a user for the app.
find_nobody
: "${nobody:?}"
say uid "$nobody"
for name in $nodes; do
    command -v "$name" >/dev/null || continue
    say program "$(command -v "$name")"
    say version "$("$name" --version)"
    break
done
