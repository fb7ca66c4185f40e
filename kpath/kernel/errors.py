"""Errors of this package that a user may see: one sentence that says what is wrong and what to do."""

from __future__ import annotations


class KernelError(Exception):
    """Base of every error this package raises on purpose."""


class NoLibbpfError(KernelError):
    """libbpf.so.1 cannot be loaded."""


class NoBtfError(KernelError):
    """The kernel (or a module, or a file) has no type information that can be read."""


class UnknownTypeError(KernelError, LookupError):
    """A structure, union, enumeration or member is not in this kernel's BTF."""


class NoSymbolsError(KernelError):
    """/proc/kallsyms cannot be read, or hides its addresses."""


class NoTextError(KernelError):
    """The kernel's code cannot be read."""


class UnknownInterfaceError(KernelError, LookupError):
    """No such network interface, or its name is not unique among the namespaces."""
