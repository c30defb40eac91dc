: "${nodes:?}"
# Behind say and find_nobody: look for Node.js, and for a user for the app.
find_nobody
: "${nobody:?}"
say uid "$nobody"
for name in $nodes; do
    command -v "$name" >/dev/null || continue
    say program "$(command -v "$name")"
    say version "$("$name" --version)"
    break
done
