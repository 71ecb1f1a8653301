#!/bin/sh
# Starts Redis the way Docker's official image does: options alone mean redis-server, root gives up its rights, and
# without a configuration file clients from other hosts are let in.
set -e

case "$1" in
-* | *.conf) set -- redis-server "$@" ;;
esac

if [ "$1" = redis-server ]; then
	if [ "$(id -u)" = 0 ]; then
		find /data \! -user redis -exec chown redis:redis '{}' +
		exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
	fi
	umask 0077
	shift
	case "$1" in
	*.conf) set -- redis-server "$@" ;;
	# Redis takes the last of an option's values, so the caller's stand after ours.
	*) set -- redis-server --protected-mode no "$@" ;;
	esac
fi

exec "$@"
