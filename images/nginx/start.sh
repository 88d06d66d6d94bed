#!/bin/sh
# nginx as its container image has it: logs on the standard streams, /etc/nginx/conf.d for one's own servers (or a whole
# /etc/nginx/nginx.conf), /usr/share/nginx/html otherwise. The pod has one user, so workers stay that user.
set -e
mkdir -p /run/nginx/conf.d /var/log/nginx /var/lib/nginx /var/cache/nginx
ln -sf /dev/stdout /var/log/nginx/access.log
ln -sf /dev/stderr /var/log/nginx/error.log
conf=/opt/hikeshi/images/nginx/nginx.conf
servers=/opt/hikeshi/images/nginx/default.conf
# A link is the machine's own folder; a real one has something mounted in it.
if [ ! -L /etc/nginx ]; then
  [ ! -f /etc/nginx/nginx.conf ] || conf=/etc/nginx/nginx.conf
  for own in /etc/nginx/conf.d/*.conf; do
    [ ! -f "$own" ] || servers="/etc/nginx/conf.d/*.conf"
  done
fi
echo "include $servers;" > /run/nginx/conf.d/servers.conf
exec nginx -c "$conf" -g "daemon off;"
