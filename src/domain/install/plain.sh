late=
trap 'late=1' USR1
$g "${SHELL:-/bin/sh}" -c "$c" </dev/null &
p=$!
$g /bin/sh -c "$watch" watch "" "$limit" "$p" </dev/null >/dev/null 2>&1 &
w=$!
wait "$p"
s=$?
if [ -n "$late" ]; then
  wait "$w"
  exit 200
fi
kill -s KILL -- "-$w" 2>/dev/null || kill -s KILL "$w" 2>/dev/null
exit "$s"
