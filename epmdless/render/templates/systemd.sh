#!/bin/sh
# @app@ with systemd, beside epmdless in epmd's place: a node @alive@@ADDRESS on each host, joined with all others.
# Rendered by epmdless @version@. To do, on each host:
#   1. epmdless in /opt/epmdless, its two units in /etc/systemd/system (README: "With systemd"); the release in /opt/@app@
@to_do@
#   3. as root: COOKIE=… sh THIS-FILE     the same on each host, as from: openssl rand -hex 32
# Look:  epmdless cluster; journalctl -u epmdless -u @app@
set -eu
umask 022
: "${COOKIE:?the cookie of all nodes, the same on each host}"
case $COOKIE in *[!0-9A-Za-z_=+/.-]*) echo "COOKIE: letters, digits and _ = + / . - alone" >&2; exit 2 ;; esac

for unit in /lib/systemd/system/@app@.service /usr/lib/systemd/system/@app@.service; do
    [ ! -e "$unit" ] || { echo "$unit is another program's: render with another --app" >&2; exit 2; }
done

# Each of the two runs as a user of its own, and has the cookie in a file of its own.
for user in epmdless @app@; do
    id "$user" >/dev/null 2>&1 || useradd --system --shell /usr/sbin/nologin "$user"
done
mkdir -p /etc/epmdless /etc/@app@ /etc/systemd/system/epmdless.service.d
install -m 0400 -o epmdless /dev/stdin /etc/epmdless/cookie <<END
$COOKIE
END
install -m 0400 -o root /dev/stdin /etc/@app@/cookie.env <<END
RELEASE_COOKIE=$COOKIE
END

cat >/etc/epmdless/epmdless.toml <<'END'
@config@
END

cat >/etc/systemd/system/epmdless.service.d/@app@.conf <<'END'
[Service]
# A user that can own the cookie, and that sees whose process a node is.
User=epmdless
PrivateUsers=no
# At boot the DNS servers may be late: what passes for a mistake in the configuration is tried again, too.
RestartPreventExitStatus=
RestartSec=1s
END

cat >/etc/systemd/system/@app@.service <<'END'
[Unit]
Description=@app@, the node @alive@
Wants=network-online.target
After=network-online.target epmdless.service
# Not Requires: whoever restarts the socket would restart the node.
Wants=epmdless.socket

[Service]
Type=exec
User=@app@
EnvironmentFile=/etc/@app@/cookie.env
# What a release writes: its runtime configuration, and its crash dump, which outlives it. Both hold secrets.
RuntimeDirectory=@app@
RuntimeDirectoryMode=0700
StateDirectory=@app@
StateDirectoryMode=0700
Environment=HOME=/run/@app@ RELEASE_TMP=/run/@app@ ERL_CRASH_DUMP=/var/lib/@app@/erl_crash.dump
# Gives the node its name and its port. An EPMD server is there already, so none is started.
ExecStart=/opt/epmdless/bin/epmdless exec --app @app@ --port @port@ -- /opt/@app@/bin/@release@ start
Restart=on-failure
# For ever, and so rarely that systemd does not give up: at boot the network or the metadata service may be late.
RestartSec=5s
# SIGTERM to `exec`, which passes it on; SIGKILL to all that is left.
KillMode=mixed
TimeoutStopSec=60s
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
END

systemctl daemon-reload
systemctl enable --now epmdless.socket epmdless.service
systemctl restart epmdless.service
systemctl enable @app@.service
systemctl restart @app@.service
