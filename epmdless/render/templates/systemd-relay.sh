#!/bin/sh
# epmdless with systemd as a relay between two subnets: near nodes dial its addresses, and mean the far hosts.
# Rendered by epmdless @version@. To do, on the relay's host:
#   1. epmdless in /opt/epmdless, its two units in /etc/systemd/system (README: "With systemd")
#   2. the stand-in addresses are this host's (EC2: secondary private addresses): @stand_ins@
@to_do@
#   4. as root: sh THIS-FILE
# Near nodes: epmdless render inetrc; this host's firewall: epmdless render nftables --relay
# Look:  epmdless links --watch; journalctl -u epmdless
set -eu
umask 022

id epmdless >/dev/null 2>&1 || useradd --system --shell /usr/sbin/nologin epmdless
@own_key@
mkdir -p /etc/epmdless /etc/systemd/system/epmdless.service.d
cat >/etc/epmdless/epmdless.toml <<'END'
@config@
END

cat >/etc/systemd/system/epmdless.service.d/relay.conf <<'END'
[Unit]
Wants=network-online.target
After=network-online.target

[Service]
# A user that can own the key.
User=epmdless
# At boot a stand-in address may be late (a secondary one on EC2): what passes for a mistake in the configuration is
# tried again, too.
RestartPreventExitStatus=
RestartSec=1s
END

systemctl daemon-reload
systemctl enable --now epmdless.socket epmdless.service
systemctl restart epmdless.service
