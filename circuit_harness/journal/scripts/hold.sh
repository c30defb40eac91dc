: "${claim_s:?}" "${claim_bytes:?}"
# A client can die before it has opened the input, which would then stay open for ever. So the process ends unless the
# owner soon writes to it, as many bytes as the server needs to pass them on.
timeout "$claim_s" head -c "$claim_bytes" >/dev/null && exec cat >/dev/null
