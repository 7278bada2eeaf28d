# What tells this boot of the host from any other; nothing where nobody can say.
boot() {
  cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.bootsessionuuid 2>/dev/null ||
    sysctl -n kern.boottime 2>/dev/null || who -b 2>/dev/null
}
# The size of $1, in z. Unlike wc, ls never reads the file.
size() { set -- $(ls -ln "$1" 2>/dev/null); z=$((${5:-0})); }
if command -v setsid >/dev/null 2>&1; then ad_g=setsid
elif command -v busybox >/dev/null 2>&1 && busybox setsid true </dev/null >/dev/null 2>&1; then ad_g='busybox setsid'
elif command -v perl >/dev/null 2>&1; then ad_g=perl
else ad_g=
fi
# Becomes a program in a session of its own, or one that no hang-up ends.
detach() {
  case $ad_g in
    perl) exec perl -MPOSIX=setsid -e 'setsid; exec {$ARGV[0]} @ARGV' "$@" ;;
    ?*) exec $ad_g "$@" ;;
    *) trap '' HUP; exec "$@" ;;
  esac
}
