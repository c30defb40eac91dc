# sudo may have given root another.
PATH=$PATH:/usr/sbin:/sbin
# Sets program to the server's, or to nothing.
for name in mariadbd mysqld; do
    program=$(readlink -f "$(command -v $name)") && [ -x "$program" ] && break
    program=''
done
