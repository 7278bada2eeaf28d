$g "${SHELL:-/bin/sh}" -c "$c" </dev/null >>"$d/out" 2>&1 &
p=$!
$g /bin/sh -c "$watch" watch "$d" "$limit" "$p" </dev/null >/dev/null 2>&1 &
w=$!
wait "$p"
s=$?
if [ -f "$d/late" ]; then
  wait "$w"
  s=late
else
  kill -s KILL -- "-$w" 2>/dev/null || kill -s KILL "$w" 2>/dev/null
fi
until { echo "$s" >"$d/status.new" && mv -f "$d/status.new" "$d/status"; } 2>/dev/null; do [ -d "$d" ] || exit 0; sleep 5; done
