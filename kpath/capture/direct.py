"""Reading kernel memory with plain load instructions, where the kernel lets kprobes do so.

``bpf_probe_read_kernel`` costs some 50 instructions, and an event needs twenty of them. Since 6.2 the function
``bpf_rdonly_cast`` (kernel/bpf/helpers.c, commit a35b9af4ec2c) makes a number a pointer to a structure that a program
may read through: the verifier turns each read into one guarded load, which gives 0 where there is no memory, as
fentry programs have always done it. It is a kernel function, which BCC's compiler cannot call, so the text calls a
helper that does not exist and the instruction is changed before the kernel sees it.
"""

from __future__ import annotations

import ctypes
import os

from kpath.kernel.btf import Btf, BtfKind
from kpath.kernel.libbpf import libbpf, quiet

CALL = 27504
"""Number of the helper that does not exist, in the text (DIRECT_CALL)."""

_TYPES = ("irq_stack", "entry_stack")
"""Structures that are nothing but a long array of bytes, so that any offset may be read in any width."""

_KPROBE = 2  # BPF_PROG_TYPE_KPROBE
_CALL_HELPER = 0x85
_CALL_KERNEL = 0x2085  # the same, source register BPF_PSEUDO_KFUNC_CALL
_LICENCE = b"GPL"


def direct_type(btf: Btf) -> int:
    """BTF number of the structure to look through, 0 if this kernel does not let kprobes read so."""
    function = btf.find_id("bpf_rdonly_cast", BtfKind.FUNC)
    types = [found for name in _TYPES if (found := btf.find_id(name, BtfKind.STRUCT))]
    if not function or not types:
        return 0
    return types[0] if _accepted(function, types[0]) else 0


def _accepted(function: int, type_id: int) -> bool:
    """Ask the verifier with the smallest program: *(u64 *)bpf_rdonly_cast(0, type)."""
    code = (ctypes.c_uint64 * 6)(
        0x01B7,  # r1 = 0
        0x02B7 | type_id << 32,  # r2 = type
        _CALL_KERNEL | function << 32,
        0x0079,  # r0 = *(u64 *)(r0 + 0)
        0x00B7,  # r0 = 0
        0x0095,  # exit
    )
    with quiet():
        fd = int(libbpf().bpf_prog_load(_KPROBE, b"kpath_ask", _LICENCE, ctypes.byref(code), len(code), None))
    if fd < 0:
        return False
    os.close(fd)
    return True


def patched(code: bytes, function: int) -> bytes:
    """The code with the calls of that helper turned into calls of ``bpf_rdonly_cast``, BTF number ``function``."""
    words = (ctypes.c_uint64 * (len(code) // 8)).from_buffer_copy(code)
    for at, instruction in enumerate(words):
        if instruction == _CALL_HELPER | CALL << 32:
            words[at] = _CALL_KERNEL | function << 32
    return bytes(words)
