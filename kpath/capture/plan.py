"""The probe plan: which functions of the running kernel tell the path of an IPv4 packet.

The catalogue is data. What becomes of an entry on a given kernel (attached, inlined, absent) is decided by
evidence when the plan is resolved (:mod:`kpath.capture.resolve`), never by the kernel's version.
"""

from __future__ import annotations

from dataclasses import dataclass

from kpath.capture.schema import Class


@dataclass(frozen=True, slots=True)
class Planned:
    """One function that kpath would like to see.

    ``substitute`` names functions that tell the same where this one is missing; ``why`` says in a few words
    what its event means.
    """

    name: str
    group: str
    cls: Class
    why: str
    substitute: tuple[str, ...] = ()


_C = Class


def _group(group: str, *rows: tuple[Class, str, str] | tuple[Class, str, str, str]) -> tuple[Planned, ...]:
    return tuple(
        Planned(row[1], group, row[0], row[2], tuple(row[3].split()) if len(row) > 3 else ()) for row in rows
    )


ROOTS = _group(
    "roots",
    (_C.ROOT, "__napi_poll", "a driver's or the backlog's poll begins", "net_rx_action"),
    (_C.ROOT, "net_rx_action", "receive softirq: polls run"),
    (_C.ROOT, "net_tx_action", "transmit softirq: queues run, freed buffers go"),
    (_C.ROOT, "neigh_timer_handler", "neighbour timer: probes, gives up"),
    (_C.ROOT, "tcp_write_timer", "retransmission timer"),
    (_C.ROOT, "tcp_delack_timer", "delayed ACK timer"),
    (_C.ROOT, "tcp_keepalive_timer", "keepalive timer"),
    (_C.ROOT, "reqsk_timer_handler", "SYN-ACK retransmission timer"),
    (_C.ROOT, "ip_expire", "reassembly timed out"),
    (_C.ROOT, "igmp_ifc_timer_expire", "IGMP report timer"),
    (_C.ROOT, "igmp_timer_expire", "IGMP group timer"),
    (_C.ROOT, "xfrm_trans_reinject", "packets out of IPsec transport mode go on"),
    (_C.ROOT, "tcp_tasklet_func", "TCP small queues: sends what was held back", "tcp_tsq_workfn"),
    (_C.ROOT, "tcp_tsq_workfn", "TCP small queues, where they are a work item", "tcp_tasklet_func"),
    (_C.ROOT, "tcp_sendmsg", "send on a TCP socket"),
    (_C.ROOT, "udp_sendmsg", "send on a UDP socket"),
    (_C.ROOT, "raw_sendmsg", "send on a raw socket"),
    (_C.ROOT, "ping_v4_sendmsg", "send on a ping socket"),
    (_C.ROOT, "packet_sendmsg", "send on an AF_PACKET socket"),
    (_C.ROOT, "tcp_v4_connect", "connect of a TCP socket"),
    (_C.ROOT, "tcp_close", "close of a TCP socket"),
    (_C.ROOT, "tcp_shutdown", "shutdown of a TCP socket"),
    (_C.ROOT, "tcp_recvmsg", "receive on a TCP socket (it may send an ACK)"),
)

LINK_IN = _group(
    "link in",
    (_C.LINK, "napi_gro_receive", "driver hands a packet to GRO", "gro_receive_skb"),
    (_C.LINK, "gro_receive_skb", "driver hands a packet to GRO, where napi_gro_receive is inline", "napi_gro_receive"),
    (_C.FRAME, "napi_gro_frags", "driver hands page fragments to GRO"),
    (_C.LINK, "dev_gro_receive", "GRO looks for the packet's flow"),
    (_C.MERGE, "skb_gro_receive", "GRO merges the packet into a held one"),
    (_C.MERGE, "skb_gro_receive_list", "GRO chains the packet to a held one"),
    (_C.FRAME, "netif_receive_skb_list_internal", "a batch of packets enters the stack"),
    (_C.LINK, "netif_receive_skb", "a packet enters the stack"),
    (_C.LINK, "netif_rx", "a packet is handed over to the backlog"),
    (_C.LINK, "__netif_rx", "a packet is handed over to the backlog (softirq)", "netif_rx"),
    (_C.LINK, "netif_rx_internal", "backlog: CPU is chosen"),
    (_C.LINK, "enqueue_to_backlog", "the packet is queued on a CPU's backlog"),
    (_C.FRAME, "process_backlog", "the backlog is worked off"),
    (_C.LINK, "__netif_receive_skb", "receive, memory flags set"),
    (_C.LINK, "__netif_receive_skb_one_core", "receive of one packet: L2 demultiplex, then protocol"),
    (_C.FRAME, "__netif_receive_skb_list_core", "receive of a batch"),
    (_C.FRAME, "__netif_receive_skb_core", "taps, ingress hooks, rx_handler, packet type"),
    (_C.LINK, "do_xdp_generic", "generic XDP program"),
    (_C.LINK, "tcf_classify", "tc classifiers"),
    (_C.LINK, "packet_rcv", "an AF_PACKET socket taps the packet"),
    (_C.LINK, "tpacket_rcv", "an AF_PACKET ring taps the packet"),
    (_C.FRAME, "vlan_do_receive", "the VLAN tag chooses the device"),
    (_C.FRAME, "bond_handle_frame", "bond takes the packet of its port"),
    (_C.FRAME, "macvlan_handle_frame", "macvlan takes the packet of its lower device"),
    (_C.FRAME, "br_handle_frame", "bridge takes the packet of its port"),
    (_C.LINK, "br_handle_frame_finish", "bridge looks up the destination"),
    (_C.LINK, "br_pass_frame_up", "bridge: the packet is for this host"),
    (_C.LINK, "br_forward", "bridge: to one port"),
    (_C.LINK, "__br_forward", "bridge: to one port, after checks"),
    (_C.LINK, "br_forward_finish", "bridge: after its FORWARD hook"),
    (_C.LINK, "br_dev_queue_push_xmit", "bridge: out of the port"),
    (_C.LINK, "br_flood", "bridge: to all ports"),
    (_C.LINK, "gro_cells_receive", "tunnel hands the inner packet back to the stack"),
    (_C.FRAME, "gro_cell_poll", "tunnel's inner packets re-enter"),
)

IP_IN = _group(
    "ip in",
    (_C.IP, "ip_rcv", "IPv4 receive"),
    (_C.FRAME, "ip_list_rcv", "IPv4 receive of a batch"),
    (_C.IP, "ip_rcv_core", "header checks"),
    (_C.FRAME, "ip_sublist_rcv", "batch: PRE_ROUTING and route"),
    (_C.FRAME, "ip_sublist_rcv_finish", "batch: dst->input of each"),
    (_C.IP, "ip_rcv_finish", "after PRE_ROUTING, when it is called through a pointer", "ip_rcv_finish_core"),
    (_C.IP, "ip_rcv_finish_core", "early demultiplex, then route"),
    (_C.IP, "ip_route_use_hint", "route taken from the packet before"),
    (_C.IP, "tcp_v4_early_demux", "socket looked up before the route"),
    (_C.IP, "udp_v4_early_demux", "socket looked up before the route"),
    (_C.IP, "ip_route_input_noref", "input route lookup"),
    (_C.IP, "ip_route_input_rcu", "input route lookup: multicast or not"),
    (_C.IP, "ip_route_input_slow", "input route computed"),
    (_C.IP, "ip_mkroute_input", "forwarding route made"),
    (_C.IP, "ip_local_deliver", "for this host"),
    (_C.IP, "ip_defrag", "fragment waits for the others"),
    (_C.IP, "ip_local_deliver_finish", "after LOCAL_IN"),
    (_C.IP, "ip_protocol_deliver_rcu", "protocol's handler is chosen"),
    (_C.IP, "raw_local_deliver", "raw sockets get a copy"),
    (_C.IP, "raw_rcv", "into a raw socket"),
    (_C.IP, "ip_error", "no route: an ICMP error is sent"),
    (_C.IP, "ip_mr_input", "multicast routing"),
    (_C.IP, "ip_mr_forward", "multicast: over the interfaces"),
    (_C.IP, "ip_mr_output", "multicast routing of a local packet"),
    (_C.IP, "ipmr_queue_xmit", "multicast: out of one interface", "ipmr_queue_fwd_xmit"),
    (_C.IP, "ipmr_queue_fwd_xmit", "multicast: out of one interface", "ipmr_queue_xmit"),
)

L4_IN = _group(
    "transport in",
    (_C.IP, "tcp_v4_rcv", "TCP handler"),
    (_C.FRAME, "__inet_lookup_established", "established TCP socket looked up"),
    (_C.FRAME, "__inet_lookup_listener", "listening TCP socket looked up"),
    (_C.IP, "tcp_v4_do_rcv", "segment for a socket"),
    (_C.LINK, "tcp_add_backlog", "socket is busy: segment waits"),
    (_C.FRAME, "__release_sock", "socket is free: waiting segments are worked off"),
    (_C.LINK, "tcp_check_req", "third segment of the handshake"),
    (_C.LINK, "tcp_child_process", "first segment of a new connection"),
    (_C.LINK, "tcp_timewait_state_process", "segment for a closed connection"),
    (_C.LINK, "tcp_rcv_established", "segment for an open connection"),
    (_C.LINK, "tcp_rcv_state_process", "segment in another state"),
    (_C.LINK, "tcp_queue_rcv", "data into the socket's queue"),
    (_C.LINK, "tcp_data_queue", "data into the socket's queue, slow path"),
    (_C.IP, "tcp_v4_conn_request", "SYN for a listener"),
    (_C.LINK, "tcp_conn_request", "SYN for a listener: request made"),
    (_C.IP, "tcp_v4_send_reset", "RST in answer"),
    (_C.IP, "udp_rcv", "UDP handler"),
    (_C.IP, "__udp4_lib_rcv", "UDP: checksum, socket", "udp_rcv"),
    (_C.FRAME, "__udp4_lib_lookup", "UDP socket looked up"),
    (_C.LINK, "udp_unicast_rcv_skb", "UDP: one socket"),
    (_C.LINK, "udp_queue_rcv_skb", "UDP: into the socket"),
    (_C.LINK, "udp_queue_rcv_one_skb", "UDP: policy, filter, encapsulation"),
    (_C.LINK, "__udp_enqueue_schedule_skb", "UDP: into the socket's queue"),
    (_C.IP, "icmp_rcv", "ICMP handler"),
    (_C.IP, "icmp_echo", "echo request"),
    (_C.IP, "icmp_unreach", "ICMP error for one of our packets"),
    (_C.LINK, "ping_rcv", "echo reply for a ping socket"),
    (_C.IP, "igmp_rcv", "IGMP handler"),
    (_C.LINK, "sk_filter_trim_cap", "socket filter"),
    (_C.LINK, "sock_queue_rcv_skb_reason", "into a datagram socket's queue", "sock_queue_rcv_skb"),
    (_C.LINK, "sock_queue_rcv_skb", "into a datagram socket's queue", "sock_queue_rcv_skb_reason"),
    (_C.LINK, "__sock_queue_rcv_skb", "into a datagram socket's queue"),
    (_C.IP, "gre_rcv", "GRE handler"),
    (_C.IP, "ipip_rcv", "IPIP handler"),
    (_C.IP, "tunnel4_rcv", "IPIP dispatch"),
    (_C.LINK, "ip_tunnel_rcv", "tunnel: inner packet"),
)

FORWARD = _group(
    "forward",
    (_C.IP, "ip_forward", "to another host"),
    (_C.IP, "ip_forward_options", "forwarded packet has IP options"),
    (_C.IP, "ip_forward_finish", "after FORWARD"),
    (_C.IP, "ip_rt_send_redirect", "ICMP redirect is sent"),
    (_C.IP, "ip_call_ra_chain", "router alert"),
)

XFRM = _group(
    "xfrm",
    (_C.IP, "__xfrm_route_forward", "policy for a forwarded packet"),
    (_C.LINK, "__xfrm_policy_check", "inbound policy"),
    (_C.FRAME, "xfrm_lookup", "policy lookup", "xfrm_lookup_with_ifid"),
    (_C.FRAME, "xfrm_lookup_route", "policy lookup for a route"),
    (_C.FRAME, "xfrm_lookup_with_ifid", "policy lookup"),
    (_C.FRAME, "xfrm_policy_lookup_bytype", "policy searched"),
    (_C.FRAME, "xfrm_sk_policy_lookup", "socket's policy searched"),
    (_C.FRAME, "xfrm_expand_policies", "policy expanded"),
    (_C.FRAME, "xfrm_resolve_and_create_bundle", "states found, bundle made"),
    (_C.FRAME, "xfrm_state_find", "state searched"),
    (_C.FRAME, "xfrm4_dst_lookup", "route of the tunnel's outer header"),
    (_C.FRAME, "__xfrm4_dst_lookup", "route of the tunnel's outer header"),
    (_C.FRAME, "xfrm4_fill_dst", "bundle filled"),
    (_C.IP, "xfrm4_output", "into IPsec"),
    (_C.IP, "__xfrm4_output", "into IPsec, after POST_ROUTING"),
    (_C.IP, "xfrm_output", "transform: GSO, checksum"),
    (_C.IP, "xfrm_output2", "transform of one packet"),
    (_C.FRAME, "xfrm_output_gso", "transform of each segment"),
    (_C.IP, "xfrm_output_resume", "transform loop"),
    (_C.LINK, "xfrm_outer_mode_output", "tunnel or transport header"),
    (_C.LINK, "esp_output", "ESP"),
    (_C.LINK, "esp_output_head", "ESP: room for the trailer"),
    (_C.LINK, "esp_output_tail", "ESP: encrypt"),
    (_C.LINK, "ah_output", "AH"),
    (_C.LINK, "ipcomp_output", "IPComp"),
    (_C.FRAME, "esp_output_done", "ESP: asynchronous encryption is done"),
    (_C.IP, "xfrm4_esp_rcv", "ESP handler"),
    (_C.IP, "xfrm4_ah_rcv", "AH handler"),
    (_C.IP, "xfrm4_ipcomp_rcv", "IPComp handler"),
    (_C.IP, "xfrm4_rcv", "IPsec receive"),
    (_C.LINK, "xfrm4_udp_encap_rcv", "ESP in UDP"),
    (_C.LINK, "xfrm4_rcv_encap", "IPsec receive out of UDP"),
    (_C.LINK, "xfrm_input", "state looked up, transform undone"),
    (_C.LINK, "xfrm_input_resume", "transform goes on after asynchronous decryption"),
    (_C.LINK, "esp_input", "ESP"),
    (_C.LINK, "esp_input_done2", "ESP: decrypted"),
    (_C.LINK, "ah_input", "AH"),
    (_C.LINK, "ipcomp_input", "IPComp"),
    (_C.LINK, "xfrm_rcv_cb", "tunnel or interface told"),
    (_C.LINK, "xfrm4_transport_finish", "transport mode: PRE_ROUTING again"),
    (_C.LINK, "xfrm4_rcv_encap_finish", "transport mode: route"),
    (_C.LINK, "xfrm4_rcv_encap_finish2", "transport mode: dst->input"),
    (_C.LINK, "xfrm_trans_queue", "transport mode: goes on later"),
    (_C.LINK, "xfrm_trans_queue_net", "transport mode: goes on later"),
)

LOCAL_OUT = _group(
    "local out",
    (_C.IP, "__icmp_send", "ICMP error about this packet", "icmp_send"),
    (_C.IP, "icmp_send", "ICMP error about this packet", "__icmp_send"),
    (_C.FRAME, "icmp_route_lookup", "route of the ICMP error"),
    (_C.IP, "icmp_reply", "ICMP answer to this packet"),
    (_C.FRAME, "icmp_push_reply", "ICMP packet is made"),
    (_C.FRAME, "ip_append_data", "data appended to a pending packet"),
    (_C.FRAME, "__ip_append_data", "data copied into buffers"),
    (_C.FRAME, "ip_make_skb", "packet made of the data"),
    (_C.FRAME, "__ip_make_skb", "IP header made"),
    (_C.FRAME, "ip_push_pending_frames", "pending packet is sent"),
    (_C.FRAME, "udp_push_pending_frames", "pending datagram is sent", "udp_send_skb"),
    (_C.ORIGIN, "udp_send_skb", "UDP header made"),
    (_C.IP, "ip_send_skb", "packet goes out"),
    (_C.IP, "ip_send_unicast_reply", "answer without a socket (RST, ACK)"),
    (_C.FRAME, "tcp_sendmsg_locked", "data into TCP's queue"),
    (_C.FRAME, "tcp_push", "TCP may send"),
    (_C.FRAME, "__tcp_push_pending_frames", "TCP sends what is pending"),
    (_C.FRAME, "tcp_push_one", "TCP sends one segment"),
    (_C.FRAME, "tcp_write_xmit", "TCP sends as much as it may"),
    (_C.FRAME, "tcp_connect", "SYN is made"),
    (_C.FRAME, "tcp_send_ack", "ACK is made"),
    (_C.FRAME, "__tcp_send_ack", "ACK is made"),
    (_C.FRAME, "tcp_send_fin", "FIN is made"),
    (_C.FRAME, "tcp_send_active_reset", "RST is made"),
    (_C.FRAME, "tcp_v4_send_synack", "SYN-ACK is made"),
    (_C.FRAME, "tcp_make_synack", "SYN-ACK is made"),
    (_C.ORIGIN, "tcp_retransmit_skb", "segment is sent again"),
    (_C.ORIGIN, "__tcp_retransmit_skb", "segment is sent again"),
    (_C.ORIGIN, "__tcp_transmit_skb", "TCP header made"),
    (_C.ORIGIN, "ip_build_and_send_pkt", "SYN-ACK: IP header made"),
    (_C.ORIGIN, "ip_queue_xmit", "TCP segment: route and IP header"),
    (_C.ORIGIN, "__ip_queue_xmit", "TCP segment: route and IP header"),
    (_C.FRAME, "__sk_dst_check", "socket's cached route is checked"),
    (_C.FRAME, "ip_route_output_flow", "output route lookup"),
    (_C.FRAME, "ip_route_output_key_hash", "output route lookup"),
    (_C.FRAME, "ip_route_output_key_hash_rcu", "output route computed"),
    (_C.IP, "ip_local_out", "local packet goes out"),
    (_C.IP, "__ip_local_out", "length, checksum, LOCAL_OUT"),
    (_C.ORIGIN, "igmpv3_sendpack", "IGMP report goes out"),
    (_C.FRAME, "igmp_send_report", "IGMP report is made"),
)

IP_OUT = _group(
    "ip out",
    (_C.IP, "ip_output", "output, unicast"),
    (_C.IP, "ip_mc_output", "output, multicast and broadcast"),
    (_C.IP, "ip_mc_finish_output", "multicast copy for this host"),
    (_C.IP, "ip_finish_output", "after POST_ROUTING"),
    (_C.IP, "__ip_finish_output", "fragment or not"),
    (_C.IP, "ip_fragment", "DF and size checked"),
    (_C.IP, "ip_do_fragment", "fragments are made"),
    (_C.IP, "ip_finish_output2", "neighbour is chosen"),
    (_C.FRAME, "__neigh_create", "neighbour entry is made"),
    (_C.NEIGHBOUR, "neigh_resolve_output", "neighbour must be resolved first"),
    (_C.NEIGHBOUR, "neigh_connected_output", "neighbour is known, header is built"),
    (_C.NEIGHBOUR, "neigh_direct_output", "device needs no neighbour"),
    (_C.NEIGHBOUR, "__neigh_event_send", "packet waits for the neighbour, or may go"),
    (_C.FRAME, "neigh_probe", "neighbour is asked"),
    (_C.FRAME, "neigh_update", "neighbour answered: waiting packets go"),
    (_C.NEIGHBOUR, "arp_solicit", "ARP request for this packet's next hop"),
    (_C.FRAME, "arp_send_dst", "ARP packet is made"),
    (_C.LINK, "arp_xmit", "ARP packet goes out"),
    (_C.LINK, "arp_rcv", "ARP packet received"),
    (_C.LINK, "arp_process", "ARP packet handled"),
    (_C.LINK, "dst_discard_out", "route discards"),
    (_C.LINK, "lwtunnel_output", "light-weight tunnel"),
    (_C.LINK, "lwtunnel_xmit", "light-weight tunnel"),
)

LINK_OUT = _group(
    "link out",
    (_C.LINK, "dev_queue_xmit", "to the device", "__dev_queue_xmit"),
    (_C.LINK, "__dev_queue_xmit", "to the device"),
    (_C.LINK, "dev_qdisc_enqueue", "into the queueing discipline"),
    (_C.FRAME, "__qdisc_run", "queueing discipline is worked off"),
    (_C.LINK, "sch_direct_xmit", "out of the queueing discipline"),
    (_C.LINK, "validate_xmit_skb_list", "segment, checksum: can the device do it"),
    (_C.LINK, "validate_xmit_skb", "segment, checksum: can the device do it"),
    (_C.LINK, "__skb_gso_segment", "segments are made"),
    (_C.LINK, "dev_hard_start_xmit", "to the driver"),
    (_C.LINK, "dev_queue_xmit_nit", "taps get a copy"),
    (_C.LINK, "dev_loopback_xmit", "copy for this host"),
    (_C.LINK, "loopback_xmit", "driver: lo"),
    (_C.LINK, "veth_xmit", "driver: veth"),
    (_C.LINK, "br_dev_xmit", "driver: bridge"),
    (_C.LINK, "bond_start_xmit", "driver: bond"),
    (_C.LINK, "bond_dev_queue_xmit", "bond hands to its port"),
    (_C.LINK, "vlan_dev_hard_start_xmit", "driver: VLAN"),
    (_C.LINK, "macvlan_start_xmit", "driver: macvlan"),
    (_C.LINK, "ipip_tunnel_xmit", "driver: IPIP tunnel"),
    (_C.LINK, "ipgre_xmit", "driver: GRE tunnel"),
    (_C.LINK, "ip_tunnel_xmit", "tunnel: outer header"),
    (_C.FRAME, "iptunnel_xmit", "tunnel: outer packet goes out"),
    (_C.LINK, "xfrmi_xmit", "driver: xfrm interface"),
    (_C.LINK, "tun_net_xmit", "driver: tun and tap"),
    (_C.LINK, "e1000_xmit_frame", "driver: e1000"),
    (_C.LINK, "start_xmit", "driver: virtio-net"),
)

HOOKS = _group(
    "hooks",
    (_C.HOOK, "nf_hook_slow", "netfilter hook"),
    (_C.FRAME, "nf_hook_slow_list", "netfilter hook for a batch"),
    (_C.LINK, "nf_queue", "hook hands the packet to userspace"),
    (_C.FRAME, "nf_reinject", "userspace gives the packet back"),
)

LIFE = _group(
    "life",
    (_C.COPY, "__copy_skb_header", "clone, copy or segment is made"),
    (_C.COPY, "ip_copy_metadata", "fragment is made"),
    (_C.RELEASE, "kfree_skb", "dropped", "kfree_skb_reason sk_skb_reason_drop"),
    (_C.RELEASE, "kfree_skb_reason", "dropped", "sk_skb_reason_drop kfree_skb"),
    (_C.RELEASE, "sk_skb_reason_drop", "dropped", "kfree_skb_reason kfree_skb"),
    (_C.RELEASE, "consume_skb", "done with"),
    (_C.RELEASE, "napi_consume_skb", "done with, by the driver"),
    (_C.RELEASE, "__kfree_skb", "freed"),
    (_C.RELEASE, "kfree_skb_partial", "merged into another buffer, and freed"),
    (_C.END, "skb_release_head_state", "end of the buffer's life"),
    (_C.END, "__consume_stateless_skb", "end of the buffer's life, nothing hangs on it (UDP receive)"),
    (_C.END, "napi_skb_free_stolen_head", "end of the buffer's life, its data lives on"),
)

PLAN: tuple[Planned, ...] = (
    *ROOTS, *LINK_IN, *IP_IN, *L4_IN, *FORWARD, *XFRM, *LOCAL_OUT, *IP_OUT, *LINK_OUT, *HOOKS, *LIFE,
)  # fmt: skip

GATES = frozenset({
    "ip_rcv_core", "ip_forward", "ip_local_deliver", "ip_output", "ip_mc_output", "dev_hard_start_xmit",
})  # fmt: skip
"""Functions at which a packet that a filter has rejected is looked at again: it may have been translated, or marked."""

INNER = frozenset({
    "__netif_receive_skb_core", "ip_rcv_finish_core", "__udp4_lib_lookup", "__inet_lookup_established",
    "__inet_lookup_listener",
})  # fmt: skip
"""Functions that are about the one packet in whose functions they are and lead to no other one, though where the packet
is among their arguments may not be known."""

PLAN_BY_NAME: dict[str, Planned] = {p.name: p for p in PLAN}
