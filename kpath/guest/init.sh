#!/bin/bash
# First process of the guest on the shared root: sets up what a running system has, runs /run/kpath/command, says how
# it ended, and powers off. No udev: nothing here needs it, and it would triple the time to boot. busybox does what a
# small installation may not have programs for.
# /run/kpath/env was written by kpath.guest.machine.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
. /run/kpath/env

b=/run/kpath/busybox
mount() {
	$b mount "$@"
}
stuck() {
	echo "kpath: $1"
	exec $b poweroff -f
}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run/lock /run/netns /run/kpath/home
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ -z "$KPATH_TMPFS" ] || mount -t tmpfs -o mode=1777 tmp /tmp
mkdir -p "$KPATH_OUT"
mount -t 9p -o trans=virtio,version=9p2000.L,msize=65536,access=any out "$KPATH_OUT" ||
	stuck "cannot mount $KPATH_OUT"

release=$(</proc/sys/kernel/osrelease)
mkdir -p /lib/modules
ln -sfnT "$KPATH_MODULES" "/lib/modules/$release"
echo "$KPATH_HOSTNAME" >/proc/sys/kernel/hostname
echo "127.0.1.1 $KPATH_HOSTNAME" >>/etc/hosts
$b ip link set lo up
for module in $KPATH_LOAD; do
	modprobe "$module"
done
ulimit -l unlimited
ulimit -c 0

# The ports are known by number to the kernel, and by name to sysfs.
port() {
	local name
	for name in /sys/class/virtio-ports/*/name; do
		[ "$(<"$name")" != "$1" ] || { name=${name%/name}; echo "/dev/${name##*/}"; }
	done
}
exec 9>"$(port kpath.status)" || stuck "no port to say how it goes"

export KPATH_IN_GUEST=1 KPATH_OUT HOME=/run/kpath/home USER=root LOGNAME=root SHELL=/bin/bash TERM
export VIRTUAL_ENV PATH="$KPATH_PATH:$PATH" LANG=C.UTF-8
cd "$KPATH_CWD" || stuck "no $KPATH_CWD here"
read -r uptime _ </proc/uptime
echo "ready $uptime" >&9
if [ -n "$KPATH_TTY" ]; then
	# The size must be set while the terminal is open: the driver forgets it when it is closed.
	{
		stty sane rows "$KPATH_ROWS" cols "$KPATH_COLUMNS"
		setsid -cw /run/kpath/command 9>&-
		status=$?
	} <>/dev/hvc0 >&0 2>&1
else
	# One process at a time may hold the port, so the command writes into a pipe. What it left running must not hold
	# up the end.
	mkfifo /run/kpath/pipe
	cat </run/kpath/pipe >"$(port kpath.output)" 9>&- &
	reader=$!
	setsid -w /run/kpath/command </dev/null >/run/kpath/pipe 2>&1 9>&-
	status=$?
	for _ in {1..20}; do
		kill -0 $reader 2>/dev/null || break
		sleep 0.1
	done
fi
cd /
sync
$b umount "$KPATH_OUT" 2>/dev/null
echo "exit $status" >&9
exec $b poweroff -f
