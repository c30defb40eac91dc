# sudo may have set another path for root.
PATH=$PATH:/usr/sbin:/sbin
# Set program to the server's, or to "".
for name in mariadbd mysqld; do
    program=$(readlink -f "$(command -v $name)") && [ -x "$program" ] && break
    program=''
done
