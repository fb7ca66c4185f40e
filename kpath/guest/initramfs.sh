#!/bin/busybox sh
# First process of the guest, in the initramfs: mounts the machine's root, shared read-only over 9p, with an overlay
# in memory above it, and goes on there with init.sh. cache=loose: what is shared does not change under a guest.
# msize: in kernels such as 5.10 each request clears two buffers of this size (net/9p/client.c: p9_fcall_init, with
# init_on_alloc), which the emulator does byte by byte; with 512,000 that was a quarter of a first start on 5.10.
b=/bin/busybox
stuck() {
	echo "kpath: $1"
	exec $b poweroff -f
}
$b mount -t proc proc /proc
for module in /modules/*.ko; do
	$b insmod "$module"
done
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=65536,cache=loose root /lower ||
	stuck "cannot mount the shared root"
$b mount -t tmpfs -o mode=755 rw /rw
$b mkdir /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work,xino=off root /new ||
	stuck "cannot mount the overlay"
$b mount -t tmpfs -o mode=755 run /new/run || stuck "cannot mount /run"
$b cp -r /kpath /new/run/kpath
$b cp $b /new/run/kpath/busybox
$b umount /proc
exec $b switch_root /new /run/kpath/init
