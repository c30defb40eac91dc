: "${nodes:?}"
# Behind find_nobody: Node.js, and a user for the app.
find_nobody
: "${nobody:?}"
echo "uid $nobody"
for name in $nodes; do
    command -v "$name" >/dev/null || continue
    echo "node $(command -v "$name")"
    echo "version $("$name" --version)"
    break
done
