[ -O / ] && name=ENV_SUPATH || name=ENV_PATH
sed -n "s/^${name}[[:space:]][[:space:]]*\(PATH=\)\{0,1\}//p" /etc/login.defs 2>/dev/null | tail -n 1
