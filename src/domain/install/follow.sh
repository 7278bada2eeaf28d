o=0
i=0
q=0
new() {
  z=0
  [ -f "$d/out" ] && z=$(wc -c <"$d/out")
  z=$((z+0))
  [ $((z-o)) -gt $((m+16777216)) ] && o=$((z-m))
  while [ "$z" -gt "$o" ]; do
    n=$((z-o))
    [ "$n" -gt 1048576 ] && n=1048576
    printf '%s D %s %s\n' "$N" "$o" "$n"
    tail -c "+$((o+1))" "$d/out" | head -c "$n"
    o=$((o+n))
  done
}
gone() {
  if [ ! -f "$d/pid" ]; then
    q=$((q+1))
    [ "$q" -gt 20 ]
    return
  fi
  k=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
  [ -n "$k" ] && [ -s "$d/boot" ] && [ "$k" != "$(cat "$d/boot")" ] && return 0
  p=$(cat "$d/pid")
  kill -s 0 "$p" 2>/dev/null || return 0
  if [ -r "/proc/$p/cmdline" ]; then
    case $(tr '\000' ' ' <"/proc/$p/cmdline") in *"$t"*) return 1 ;; *) return 0 ;; esac
  fi
  return 1
}
ended() {
  [ -f "$d/status" ] || return 1
  new
  printf '%s S %s\n' "$N" "$(cat "$d/status")"
}
while ! ended; do
  new
  i=$((i+1))
  if [ "$i" -gt "$((limit*2+240))" ]; then printf "%s E the wrapper runs beyond its limit\n" "$N"; exit 0; fi
  if [ "$i" -le 4 ]; then
    sleep 0.005 2>/dev/null || sleep 1
  elif [ "$i" -le 10 ]; then
    sleep 0.02 2>/dev/null || sleep 1
  else
    if gone; then
      sleep 1
      ended && exit 0
      new
      if [ -d "$d/began" ]; then printf '%s L\n' "$N"; else printf '%s E the wrapper did not start\n' "$N"; fi
      exit 0
    fi
    if [ "$i" -le 30 ]; then
      sleep 0.1 2>/dev/null || sleep 1
    else
      sleep 0.5 2>/dev/null || sleep 1
    fi
    printf '%s A\n' "$N"
  fi
done
