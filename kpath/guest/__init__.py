"""Boots Debian's stock kernels in QEMU's software emulation, and runs a command in each.

A guest's root is this machine's own root, shared read-only under a throw-away overlay, so that the checkout
and its virtual environment are simply there. Nothing is installed, nothing but the output directory is
written to, and neither root nor hardware virtualisation is needed.

    archive      finds kernel packages in Debian's archives
    kernels      the cache of unpacked kernels
    initramfs    the few modules and the script that mount the shared root
    machine      QEMU: start, stream, bring back, stop
    cli          ``python -m kpath.guest``
    pytest_plugin  runs the tests marked ``guest``, here or in guests

This package stands alone: it imports nothing else of kpath.
"""
