umask 077    # the key is a file of its owner's alone
echo "$TLS_CRT" >/tmp/tls.crt
echo "$TLS_KEY" >/tmp/tls.key
echo "$TLS_CA" >/tmp/ca.crt
unset TLS_KEY
exec epmdless serve
