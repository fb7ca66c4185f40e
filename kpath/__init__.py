"""kpath: the path of each IPv4 packet through the running Linux kernel, checked against documents."""

__version__ = "0.1.0"
