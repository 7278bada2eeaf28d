watch() {
  n=0
  while [ "$n" -lt "$limit" ]; do
    sleep 1
    n=$((n+1))
    alive || exit 0
  done
  trap '' TERM
  finish
  exit 99
}
detach "${SHELL:-/bin/sh}" -c "$c" </dev/null &
p=$!
watch </dev/null >/dev/null 2>&1 &
w=$!
wait "$p"
s=$?
kill -s TERM "$w" 2>/dev/null
wait "$w" 2>/dev/null
[ "$?" -eq 99 ] && exit 200
exit "$s"
