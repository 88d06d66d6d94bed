#!/bin/sh
# OpenSearch as its container image starts it: an environment variable with a dot in its name (discovery.seed_hosts) is a
# setting, OPENSEARCH_JAVA_OPTS goes to Java, OPENSEARCH_PATH_CONF holds opensearch.yml and log4j2.properties. A folder of
# its own takes their place when nobody gave one: the program's own is read-only, and OpenSearch writes a keystore beside them.
set -eu
home=$(cd "$(dirname "$0")/.." && pwd)
command -v java >/dev/null || { echo "OpenSearch needs Java (apt-get install default-jre-headless)" >&2; exit 127; }
if [ -z "${OPENSEARCH_PATH_CONF:-}" ]; then
  OPENSEARCH_PATH_CONF=$(mktemp -d "${TMPDIR:-/tmp}/opensearch.XXXXXX")
  cp "$home/config/log4j2.properties" "$home/config/opensearch.yml" "$OPENSEARCH_PATH_CONF/"
fi
# A shell may not keep variables that it cannot name: as this one was given them.
settings=$(tr '\0' '\n' </proc/$$/environ | sed -n 's/^\([a-z0-9_]*\.[a-z0-9_.]*=\)/-E\1/p')
set -f
IFS='
'
for setting in $settings; do set -- "$@" "$setting"; done
unset IFS
exec java ${OPENSEARCH_JAVA_OPTS:--Xms512m -Xmx512m} -XX:+ExitOnOutOfMemoryError -Djava.security.manager=allow \
  -Dopensearch.path.home="$home" -Dopensearch.path.conf="$OPENSEARCH_PATH_CONF" -Dopensearch.distribution.type=zip \
  -Djava.io.tmpdir="${TMPDIR:-/tmp}" -Dlog4j2.disable.jmx=true \
  -Dlog4j2.contextSelector=org.apache.logging.log4j.core.selector.BasicContextSelector \
  -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true -cp "$home/lib/*" \
  org.opensearch.bootstrap.OpenSearch "$@"
