"""Record a frozen kernel for the tests: run as root on the kernel in question.

usage: python tests/kernel/record.py FILE.kernel
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kpath.capture.plan import PLAN
from kpath.kernel.freeze import freeze

NAMES = Path(__file__).parent / "names.txt"
"""Functions of the IPv4 path, old names and new; the plan's own are added."""

MODULES = """
    esp4 ah4 ipcomp bridge bonding veth macvlan nf_conntrack nf_nat ipip ip_gre 8021q tun xfrm_interface e1000
    virtio_net
"""

CODE = """
    __netif_receive_skb_one_core ip_rcv ip_rcv_core ip_rcv_finish ip_local_deliver ip_local_deliver_finish
    ip_protocol_deliver_rcu ip_forward ip_forward_finish ip_output ip_finish_output __ip_finish_output
    ip_finish_output2 ip_mc_output ip_send_skb ip_push_pending_frames __ip_queue_xmit ip_local_out udp_rcv
    xfrm4_rcv xfrm4_output xfrm_output_resume neigh_resolve_output nf_hook_slow
"""
"""Functions whose code is recorded, to look for calls and tail jumps."""


def main() -> None:
    for module in MODULES.split():  # one kernel has a module that another has built in, or not at all
        subprocess.run(["modprobe", "-q", module], check=False)
    names = [*NAMES.read_text().split(), *(planned.name for planned in PLAN)]
    freeze(names, CODE.split()).save(sys.argv[1])


if __name__ == "__main__":
    main()
