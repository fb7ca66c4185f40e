/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What kpath runs in the kernel: one program for each kind of probed function, all built from the same few steps:
 *
 *   begin()      time, CPU, who called (the return address), and the frame this one stands in (a shadow stack)
 *   identify()   which packet is this: a buffer's address and the time at which it was first seen in this life
 *   describe()   what the packet looks like here: header, device, route, GSO
 *   send()       to userspace, or aside until the packet matches the filter; what does not fit is counted
 *
 * Before this text kpath puts: `struct event` and its constants (kpath/capture/schema.py), the offsets of kernel
 * structures from BTF (kpath/capture/program.py), the filter, and which programs are wanted. No kernel header is used.
 */

#define INLINE static inline __attribute__((always_inline))
#define READ(to, size, from) bpf_probe_read_kernel((to), (size), (void *)(from))

#define MAX_DEPTH 32 /* probed frames alive on one stack; a power of two */
#define STASH_SIZE 32 /* undecided events kept for one stack; a power of two */
#if FILTER_PCAP
#define PACKET_BYTES 128 /* of the packet, from its IP header on; as much as a filter can look at */
#else
#define PACKET_BYTES 80 /* the longest IP header, and what is wanted of the transport header */
#endif
#define DST_BYTES 64
#define CACHED 8 /* devices and routes that each CPU remembers; a power of two */
#define CACHE_NS 1000000 /* for so long: they hardly ever change, and reading them is half of what an event costs */
#define BPF_F_MMAPABLE 1024
#define USER_REGS 24 /* words at the top of a task's stack: struct pt_regs, and padding above it on some kernels */
#define RB_NO_WAKEUP 1 /* BPF_RB_NO_WAKEUP: userspace polls, a wake-up would cost more than the event */

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

/* The registers as a kprobe sees them (arch/x86/include/asm/ptrace.h: struct pt_regs, x86-64). */
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

struct packet {
    u64 birth;
    u64 matched;
    u64 first_stash, last_stash; /* stacks + 1 on which its undecided events wait; 0 for none */
};

struct slot {
    u64 sp;
    u64 ret;
};

/* The frames seen on one stack, innermost last, and the hook that is running on it. */
struct shadow {
    u64 depth;
    u64 entered; /* how userspace entered the kernel when these frames were seen, see entry_from_user() */
    u64 hook_sp, hook_skb, hook_birth, hook_matched;
    struct slot slots[MAX_DEPTH];
};

struct stash {
    u64 count;
    struct event events[STASH_SIZE];
};

struct device {
    u64 address, read_at;
    u32 ifindex, netns, mtu, spare;
};

struct route {
    u64 address, read_at;
    u64 input, output, xfrm, dev;
    u32 mtu, spare; /* the route's own MTU, 0 if it has none */
};

struct scratch {
    u64 cls, first, second; /* for body(): the class of the function that was hit, and the arguments that matter */
    struct event e;
    struct device devices[CACHED];
    struct route routes[CACHED];
    u8 skb[SK_BUFF_BYTES];
    u8 dst[DST_BYTES];
    u8 packet[PACKET_BYTES];
    u64 linear; /* bytes of the packet that are in the buffer itself, from the IP header on; the rest is in pages */
    u64 user_regs[USER_REGS];
    struct shadow blank_shadow;
#if FILTERED
    struct stash blank_stash;
#endif
};

/* One CPU's, a cache line. */
struct counters {
    u64 sent; /* events that were to go up: received + lost */
    u64 lost; /* of them, did not fit into the buffer */
    u64 hits; /* runs of any program but that of the tracepoint */
    u64 drops; /* runs of that */
    u64 no_packet; /* packets that found the table full */
    u64 no_stack; /* stacks that found the table full */
    u64 too_deep; /* frames beyond MAX_DEPTH */
    u64 spare;
};

BPF_PERCPU_ARRAY(scratches, struct scratch, 1);
BPF_PROG_ARRAY(bodies, 1); /* body(), which all programs at the entry of a function go on to */
/* By CPU and mapped into userspace, not per-CPU: a system call that reads a map makes its CPU skip all probes meanwhile. */
BPF_F_TABLE("array", u32, struct counters, counts, CPUS, BPF_F_MMAPABLE);
/* LRU, because a life whose end a probe missed would otherwise keep its place for ever. */
BPF_TABLE("lru_hash", u64, struct packet, packets, PACKET_SLOTS);
BPF_TABLE("lru_hash", u64, struct shadow, shadows, STACK_SLOTS);
BPF_PERCPU_ARRAY(interrupt_shadow, struct shadow, 1);
#if FILTERED
BPF_TABLE("lru_hash", u64, struct stash, stashes, 512);
#endif
struct comm {
    char name[16];
};
BPF_TABLE("lru_hash", u32, struct comm, comms, 4096);

#if RING
BPF_RINGBUF_OUTPUT(events, RING_PAGES);
#else
BPF_PERF_OUTPUT(events);
#endif

INLINE u16 swap16(u16 v)
{
    return __builtin_bswap16(v);
}

/* ---- frames ---- */

INLINE int is_trampoline(u64 address)
{
    return address == TRAMPOLINE_1 || address == TRAMPOLINE_2 || address == TRAMPOLINE_3;
}

/* A digest of the registers with which userspace entered the kernel (a system call, an interrupt): they lie at the top
 * of the task's stack until it goes back. If they change, nothing that was seen on this stack before is still alive,
 * even if its slot has not been written to since. Interrupt stacks and kernel threads have none: always the same.
 */
INLINE u64 entry_from_user(struct scratch *s, u64 stack)
{
    u64 digest = 1;
    if (!(stack >> 63) || READ(s->user_regs, sizeof(s->user_regs), stack + THREAD_BYTES - sizeof(s->user_regs)))
        return digest;
#pragma unroll
    for (int i = 0; i < USER_REGS; i++)
        digest = (digest << 5 | digest >> 59) ^ s->user_regs[i];
    return digest;
}

/* A task's shadow is found by its stack; a CPU has one interrupt stack, and only it runs there. */
INLINE struct shadow *shadow_of(u64 stack)
{
    u32 zero = 0;
    return stack >> 63 ? shadows.lookup(&stack) : interrupt_shadow.lookup(&zero);
}

/* Drops the frames that have returned and pushes this one; what is then below it is its parent. */
INLINE void find_parent(struct scratch *s, struct counters *c, int root)
{
    struct event *e = &s->e;
    u64 key = e->stack;
    struct shadow *shadow = shadow_of(key);
    if (!shadow) {
        shadows.update(&key, &s->blank_shadow);
        shadow = shadows.lookup(&key);
        if (!shadow) {
            c->no_stack++;
            return;
        }
    }
    u64 entered = entry_from_user(s, key);
    u64 depth = root || shadow->entered != entered ? 0 : shadow->depth;
    shadow->entered = entered;
    if (depth > MAX_DEPTH)
        depth = MAX_DEPTH;
    for (int i = 0; i < MAX_DEPTH; i++) {
        if (depth == 0)
            break;
        struct slot *top = &shadow->slots[(depth - 1) & (MAX_DEPTH - 1)];
        u64 sp = top->sp, ret = top->ret;
        if (sp > e->sp) {
            /* A live frame's slot still holds its return address; a return probe puts its trampoline there. */
            u64 now = 0;
            READ(&now, sizeof(now), sp);
            if (now == ret || is_trampoline(now)) {
                e->parent_sp = sp;
                break;
            }
        } else if (sp == e->sp && ret == e->caller) {
            e->flags |= FLAG_SAME_SLOT;
        }
        depth--;
    }
    if (depth >= MAX_DEPTH) {
        c->too_deep++;
        return;
    }
    asm volatile("" : "+r"(depth)); /* or the compiler leaves out the mask, and the verifier does not see why it may */
    struct slot *mine = &shadow->slots[depth & (MAX_DEPTH - 1)];
    mine->sp = e->sp;
    mine->ret = e->caller;
    shadow->depth = depth + 1;
}

/* Which stack a stack pointer is on: the task's own (its base), or this CPU's interrupt stack (the CPU's number). */
INLINE u64 stack_of(u64 sp, u32 cpu)
{
    u64 base = 0;
    READ(&base, sizeof(base), bpf_get_current_task() + TASK_STRUCT_stack);
    return sp - base < THREAD_BYTES ? base : cpu;
}

INLINE void begin(struct pt_regs *ctx, struct scratch *s, struct counters *c)
{
    struct event *e = &s->e;
    c->hits++;
    __builtin_memset(e, 0, sizeof(*e));
    e->time = bpf_ktime_get_ns();
    e->cpu = bpf_get_smp_processor_id();
    e->pid = (u32)bpf_get_current_pid_tgid();
    e->ip = ctx->ip;
    e->sp = ctx->sp;
    e->cls = s->cls;
    e->hook = 255;
    READ(&e->caller, sizeof(e->caller), ctx->sp);
    e->stack = stack_of(e->sp, e->cpu);
    find_parent(s, c, s->cls == CLASS_ROOT);
}

/* ---- packets ---- */

INLINE u64 skb_u64(struct scratch *s, u32 offset)
{
    return *(u64 *)(s->skb + offset);
}

INLINE u32 skb_u32(struct scratch *s, u32 offset)
{
    return *(u32 *)(s->skb + offset);
}

INLINE u16 skb_u16(struct scratch *s, u32 offset)
{
    return *(u16 *)(s->skb + offset);
}

INLINE struct device *device_at(struct scratch *s, u64 dev)
{
    struct device *d = &s->devices[(dev >> 12) & (CACHED - 1)];
    if (d->address == dev && s->e.time - d->read_at < CACHE_NS)
        return d;
    u64 net = 0;
    d->address = dev;
    d->read_at = s->e.time;
    d->netns = 0;
    READ(&d->ifindex, sizeof(d->ifindex), dev + NET_DEVICE_ifindex);
    READ(&d->mtu, sizeof(d->mtu), dev + NET_DEVICE_mtu);
    READ(&net, sizeof(net), dev + NET_DEVICE_net);
    if (net)
        READ(&d->netns, sizeof(d->netns), net + NET_inum);
    return d;
}

INLINE void describe_socket(struct event *e, u64 sk)
{
    u64 net = 0;
    READ(&net, sizeof(net), sk + SOCK_net);
    if (net)
        READ(&e->netns, sizeof(e->netns), net + NET_inum);
}

INLINE struct route *route_at(struct scratch *s, u64 dst)
{
    struct route *r = &s->routes[(dst >> 8) & (CACHED - 1)];
    if (r->address == dst && s->e.time - r->read_at < CACHE_NS)
        return r;
    r->address = 0;
    if (READ(s->dst, DST_BYTES, dst))
        return 0;
    r->address = dst;
    r->read_at = s->e.time;
    r->input = *(u64 *)(s->dst + DST_ENTRY_input);
    r->output = *(u64 *)(s->dst + DST_ENTRY_output);
    r->xfrm = *(u64 *)(s->dst + DST_ENTRY_xfrm);
    r->dev = *(u64 *)(s->dst + DST_ENTRY_dev);
    r->mtu = 0;
    u64 metrics = *(u64 *)(s->dst + DST_ENTRY_metrics) & ~3ULL;
    if (metrics) /* RTAX_MTU is metric 2, the array starts at metric 1 */
        READ(&r->mtu, sizeof(r->mtu), metrics + 4);
    return r;
}

INLINE void describe_route(struct scratch *s, u64 dst)
{
    struct event *e = &s->e;
    struct route *r = route_at(s, dst);
    if (!r)
        return;
    e->dst_input = r->input;
    e->dst_output = r->output;
    e->dst_xfrm = r->xfrm;
    e->mtu = r->mtu;
    if (r->dev) {
        struct device *d = device_at(s, r->dev);
        e->out_ifindex = d->ifindex;
        if (!e->mtu)
            e->mtu = d->mtu;
        if (!e->netns)
            e->netns = d->netns;
    }
}

INLINE void describe_transport(struct scratch *s, u32 at)
{
    struct event *e = &s->e;
    u8 *l4 = s->packet + (at & 63);
    if (e->proto == IPPROTO_TCP) {
        e->sport = *(u16 *)l4;
        e->dport = *(u16 *)(l4 + 2);
        e->l4 = __builtin_bswap32(*(u32 *)(l4 + 4));
        e->tcp_flags = l4[13];
    } else if (e->proto == IPPROTO_UDP) {
        e->sport = *(u16 *)l4;
        e->dport = *(u16 *)(l4 + 2);
    } else if (e->proto == IPPROTO_ICMP) {
        e->sport = *(u16 *)l4;
        e->l4 = __builtin_bswap32(*(u32 *)(l4 + 4));
    }
}

/* The header of an IPv4 or ARP packet. On its way in, before the stack has set network_header, it is at skb->data. */
INLINE void describe_header(struct scratch *s)
{
    struct event *e = &s->e;
    u16 network = skb_u16(s, SK_BUFF_network_header);
    u64 header = network ? e->head + network : skb_u64(s, SK_BUFF_data);
    u64 tail = e->head + skb_u32(s, SK_BUFF_tail);
    s->linear = tail > header ? tail - header : 0;
    if (s->linear < 20 || READ(s->packet, PACKET_BYTES, header))
        return;
    u8 *p = s->packet;
    if (e->protocol == swap16(ETH_P_ARP)) { /* Ethernet ARP: struct arphdr, then MAC, IP, MAC, IP */
        e->arp_op = p[7];
        __builtin_memcpy(&e->saddr, p + 14, 4);
        __builtin_memcpy(&e->daddr, p + 24, 4);
        return;
    }
    u32 words = p[0] & 15;
    if (p[0] >> 4 != 4 || words < 5)
        return;
    e->flags |= FLAG_HEADER;
    e->tos = p[1];
    e->tot_len = *(u16 *)(p + 2);
    e->ip_id = *(u16 *)(p + 4);
    e->frag_off = *(u16 *)(p + 6);
    e->ttl = p[8];
    e->proto = p[9];
    e->saddr = *(u32 *)(p + 12);
    e->daddr = *(u32 *)(p + 16);
    if (!(swap16(e->frag_off) & 0x1fff) && s->linear >= words * 4 + (e->proto == IPPROTO_TCP ? 20 : 8))
        describe_transport(s, words * 4);
}

INLINE void describe_segments(struct scratch *s)
{
    struct event *e = &s->e;
    u16 gso[2] = {};
    u64 shared = e->head + skb_u32(s, SK_BUFF_end);
    READ(gso, sizeof(gso), shared + SKB_SHARED_INFO_gso_size);
    e->gso_size = gso[0];
    e->gso_segs = gso[1];
}

/* Everything about a packet that the stack has given a header, a device, a route. s->skb holds the sk_buff. */
INLINE void describe(struct scratch *s)
{
    struct event *e = &s->e;
    e->head = skb_u64(s, SK_BUFF_head);
    e->len = skb_u32(s, SK_BUFF_len);
    e->mark = skb_u32(s, SK_BUFF_mark);
    e->pkt_type = (s->skb[SK_BUFF_pkt_type_BYTE] & SK_BUFF_pkt_type_MASK) >> SK_BUFF_pkt_type_SHIFT;
    if (s->skb[SK_BUFF_cloned_BYTE] & SK_BUFF_cloned_MASK)
        e->flags |= FLAG_CLONED;
    e->ipcb = skb_u16(s, SK_BUFF_cb + INET_SKB_PARM_flags);
    e->frag_max = skb_u16(s, SK_BUFF_cb + INET_SKB_PARM_frag_max_size);
    u64 dev = skb_u64(s, SK_BUFF_dev);
    u64 dst = skb_u64(s, SK_BUFF_refdst) & ~1ULL;
    u64 sk = skb_u64(s, SK_BUFF_sk);
    if (dev) {
        struct device *d = device_at(s, dev);
        e->ifindex = d->ifindex;
        e->netns = d->netns;
    }
    if (dst)
        describe_route(s, dst);
    if (!e->netns && sk)
        describe_socket(e, sk);
    describe_header(s);
    describe_segments(s);
}

INLINE int followed_protocol(struct event *e)
{
    return e->protocol == swap16(ETH_P_IP) || e->protocol == swap16(ETH_P_ARP);
}

/* Finds or begins the life of this buffer; 0 when it is none that kpath follows. */
INLINE int identify(struct scratch *s, struct counters *c, int begin_life)
{
    struct event *e = &s->e;
    u64 key = e->skb;
    struct packet *known = packets.lookup(&key);
    if (known) {
        e->birth = known->birth;
        if (known->matched)
            e->flags |= FLAG_MATCHED;
        return 1;
    }
    if (!begin_life)
        return 0;
    struct packet fresh = {.birth = e->time, .matched = !FILTERED};
    if (packets.update(&key, &fresh)) {
        c->no_packet++;
        e->flags |= FLAG_TRACK_FULL;
        return 1;
    }
    e->birth = e->time;
    e->flags |= FLAG_BORN;
    if (!FILTERED)
        e->flags |= FLAG_MATCHED;
    return 1;
}

/* ---- to userspace ---- */

INLINE void output(struct pt_regs *ctx, struct event *e, struct counters *c)
{
    /* The number is of the CPU that sends: a task may have moved since an event of its was kept back. */
    e->cpu = bpf_get_smp_processor_id();
    e->seq = c->sent++;
#if RING
    int failed = events.ringbuf_output(e, sizeof(*e), RB_NO_WAKEUP);
#else
    int failed = events.perf_submit(ctx, e, sizeof(*e));
#endif
    if (failed)
        c->lost++;
}

#if FILTERED
INLINE int wanted(struct scratch *s)
{
    struct event *e = &s->e;
    if (!(e->flags & FLAG_HEADER) && !e->arp_op)
        return 0;
#if FILTER_NETNS
    if (e->netns != FILTER_NETNS)
        return 0;
#endif
#if FILTER_IFINDEX
    if (e->ifindex != FILTER_IFINDEX && e->out_ifindex != FILTER_IFINDEX)
        return 0;
#endif
#if FILTER_MARK_MASK
    if ((e->mark & FILTER_MARK_MASK) != FILTER_MARK)
        return 0;
#endif
#if FILTER_PCAP
    u32 wire = swap16(e->tot_len);
    if (!(e->flags & FLAG_HEADER))
        return 0;
    if (!wire) /* not filled in yet: __ip_local_out does it */
        wire = e->len;
    u32 there = wire < s->linear ? wire : s->linear;
    if (!pcap_match(s->packet, there < PACKET_BYTES ? there : PACKET_BYTES, wire))
        return 0;
#endif
    return 1;
}

INLINE void put_aside(struct scratch *s)
{
    u64 key = s->e.stack;
    struct stash *stash = stashes.lookup(&key);
    if (!stash) {
        stashes.update(&key, &s->blank_stash);
        stash = stashes.lookup(&key);
        if (!stash)
            return;
    }
    u64 skb = s->e.skb;
    struct packet *packet = skb ? packets.lookup(&skb) : 0;
    if (packet) {
        packet->last_stash = key + 1;
        if (!packet->first_stash)
            packet->first_stash = key + 1;
    }
    s->e.flags |= FLAG_STASHED;
    u64 at = stash->count & (STASH_SIZE - 1);
    __builtin_memcpy(&stash->events[at], &s->e, sizeof(struct event));
    stash->count++;
}

/* The packet matched: what led to it on this stack goes up first, in order. */
INLINE void bring_out(struct pt_regs *ctx, u64 key, struct counters *c)
{
    struct stash *stash = stashes.lookup(&key);
    if (!stash || !stash->count)
        return;
    u64 count = stash->count;
    u64 first = count > STASH_SIZE ? count - STASH_SIZE : 0;
    for (int i = 0; i < STASH_SIZE; i++) {
        if (first + i >= count)
            break;
        output(ctx, &stash->events[(first + i) & (STASH_SIZE - 1)], c);
    }
    stash->count = 0;
}
#endif

/* Sends the event up now, or keeps it until its packet is known to be wanted. */
INLINE void send(struct pt_regs *ctx, struct scratch *s, struct counters *c)
{
    struct event *e = &s->e;
#if FILTERED
    if (e->skb && !(e->flags & FLAG_MATCHED) && wanted(s)) {
        u64 key = e->skb;
        struct packet *packet = packets.lookup(&key);
        if (packet) { /* it may have come by other stacks: a sender's, another CPU's */
            packet->matched = 1;
            if (packet->first_stash)
                bring_out(ctx, packet->first_stash - 1, c);
            if (packet->last_stash)
                bring_out(ctx, packet->last_stash - 1, c);
        }
        e->flags |= FLAG_MATCHED;
    }
    if (!(e->flags & FLAG_MATCHED)) {
        put_aside(s);
        return;
    }
    bring_out(ctx, e->stack, c);
#endif
    output(ctx, e, c);
}

/* ---- what each class of function tells; 0 if there is nothing to send ---- */

INLINE int on_root(struct scratch *s)
{
    u32 pid = s->e.pid;
    struct comm comm = {};
    if (!comms.lookup(&pid)) {
        bpf_get_current_comm(&comm.name, sizeof(comm.name));
        comms.update(&pid, &comm);
    }
    return 1;
}

/* nf_hook_slow(skb, state, entries, index): what the second argument says besides. */
INLINE void describe_hook(struct scratch *s)
{
    struct event *e = &s->e;
    u64 state = s->second, net = 0, out = 0;
    READ(&e->arg, sizeof(e->arg), state + NF_HOOK_STATE_okfn);
    READ(&out, sizeof(out), state + NF_HOOK_STATE_out);
    READ(&net, sizeof(net), state + NF_HOOK_STATE_net);
    if (out)
        READ(&e->out_ifindex, sizeof(e->out_ifindex), out + NET_DEVICE_ifindex);
    if (net)
        READ(&e->netns, sizeof(e->netns), net + NET_inum);
}

/* One packet; `second` is a neighbour or the state of a hook. */
INLINE int on_packet(struct scratch *s, struct counters *c)
{
    struct event *e = &s->e;
    u64 cls = s->cls;
    e->skb = s->first;
    if (cls == CLASS_NEIGHBOUR && !e->skb) {
        /* The timer asks a neighbour that is in use with no packet waiting: neigh_probe in net/core/neighbour.c. */
        e->cls = CLASS_FRAME;
        return 1;
    }
    if (READ(s->skb, SK_BUFF_BYTES, e->skb))
        return 0;
    e->protocol = skb_u16(s, SK_BUFF_protocol);
    int ours = followed_protocol(e) || (cls != CLASS_LINK && cls != CLASS_HOOK);
    if (cls == CLASS_HOOK) {
        READ(&e->hook, sizeof(e->hook), s->second + NF_HOOK_STATE_hook);
        READ(&e->pf, sizeof(e->pf), s->second + NF_HOOK_STATE_pf);
        ours |= e->pf == 2;
    }
    if (!identify(s, c, ours))
        return 0;
    if (cls == CLASS_ORIGIN) {
        u64 sk = skb_u64(s, SK_BUFF_sk);
        e->head = skb_u64(s, SK_BUFF_head);
        e->len = skb_u32(s, SK_BUFF_len);
        if (sk)
            describe_socket(e, sk);
        return 1;
    }
    describe(s);
    if (cls == CLASS_NEIGHBOUR) {
        e->arg = s->second;
        READ(&e->nud_state, sizeof(e->nud_state), s->second + NEIGHBOUR_nud_state);
    } else if (cls == CLASS_HOOK) {
        describe_hook(s);
    }
    return 1;
}

/* Two packets. The second is complete, the first perhaps not yet: describe the second, then say who the first is. */
INLINE int on_pair(struct scratch *s, struct counters *c)
{
    struct event *e = &s->e;
    u64 first = s->first;
    e->skb = s->second;
    if (READ(s->skb, SK_BUFF_BYTES, e->skb))
        return 0;
    e->protocol = skb_u16(s, SK_BUFF_protocol);
    if (!identify(s, c, followed_protocol(e)))
        return 0;
    int matched = e->flags & FLAG_MATCHED;
    e->head = skb_u64(s, SK_BUFF_head);
    e->len = skb_u32(s, SK_BUFF_len);
    if (followed_protocol(e))
        describe_header(s);
    if (s->cls == CLASS_MERGE) {
        struct packet *into = packets.lookup(&first);
        e->other = first;
        if (into)
            e->arg = into->birth;
        return 1;
    }
    e->other = s->second;
    e->arg = e->birth;
    e->skb = first;
    e->birth = 0;
    e->flags &= ~(FLAG_BORN | FLAG_MATCHED);
    identify(s, c, 1);
    if (matched && !(e->flags & FLAG_MATCHED)) {
        struct packet heir = {.birth = e->birth, .matched = 1};
        if (e->birth)
            packets.update(&first, &heir);
        e->flags |= FLAG_MATCHED;
    }
    return 1;
}

/* A buffer is let go of; others may still hold it, unless this is its end. */
INLINE int on_release(struct scratch *s, struct counters *c)
{
    s->e.skb = s->first;
    if (!identify(s, c, 0))
        return 0;
    if (s->cls == CLASS_END) {
        u64 key = s->first;
        packets.delete(&key);
        s->e.flags |= FLAG_END;
    }
    return 1;
}

/* The verdict comes when the packet may be gone: keep who it was. */
INLINE void expect_verdict(struct event *e)
{
    struct shadow *shadow = shadow_of(e->stack);
    if (shadow) {
        shadow->hook_sp = e->sp;
        shadow->hook_skb = e->skb;
        shadow->hook_birth = e->birth;
        shadow->hook_matched = e->flags & FLAG_MATCHED;
    }
}

/* ---- the programs ---- */

/* A function was entered: all that the programs below have in common. One text instead of twenty copies, which would
 * take the compiler and the verifier twenty times as long.
 */
int body(struct pt_regs *ctx)
{
    u32 zero = 0, cpu = bpf_get_smp_processor_id();
    struct scratch *s = scratches.lookup(&zero);
    struct counters *c = counts.lookup(&cpu);
    if (!s || !c)
        return 0;
    begin(ctx, s, c);
    u64 cls = s->cls;
    int tell = 1;
    if (cls == CLASS_ROOT)
        tell = on_root(s);
    else if (cls == CLASS_COPY || cls == CLASS_MERGE)
        tell = on_pair(s, c);
    else if (cls == CLASS_RELEASE || cls == CLASS_END)
        tell = on_release(s, c);
    else if (cls != CLASS_FRAME)
        tell = on_packet(s, c);
    if (!tell)
        return 0;
    send(ctx, s, c);
    if (cls == CLASS_HOOK)
        expect_verdict(&s->e);
    return 0;
}

INLINE int enter(struct pt_regs *ctx, u64 cls, u64 first, u64 second)
{
    u32 zero = 0;
    struct scratch *s = scratches.lookup(&zero);
    if (!s)
        return 0;
    s->cls = cls;
    s->first = first;
    s->second = second;
    bodies.call(ctx, 0);
    return 0;
}

int frame(struct pt_regs *ctx) { return enter(ctx, CLASS_FRAME, 0, 0); }
int root(struct pt_regs *ctx) { return enter(ctx, CLASS_ROOT, 0, 0); }

/* The number is the position of the sk_buff among the arguments (rdi, rsi, rdx, rcx), which BTF tells. */
int origin_0(struct pt_regs *ctx) { return enter(ctx, CLASS_ORIGIN, ctx->di, 0); }
int origin_1(struct pt_regs *ctx) { return enter(ctx, CLASS_ORIGIN, ctx->si, 0); }
int origin_2(struct pt_regs *ctx) { return enter(ctx, CLASS_ORIGIN, ctx->dx, 0); }
int ip_0(struct pt_regs *ctx) { return enter(ctx, CLASS_IP, ctx->di, 0); }
int ip_1(struct pt_regs *ctx) { return enter(ctx, CLASS_IP, ctx->si, 0); }
int ip_2(struct pt_regs *ctx) { return enter(ctx, CLASS_IP, ctx->dx, 0); }
int ip_3(struct pt_regs *ctx) { return enter(ctx, CLASS_IP, ctx->cx, 0); }
int link_0(struct pt_regs *ctx) { return enter(ctx, CLASS_LINK, ctx->di, 0); }
int link_1(struct pt_regs *ctx) { return enter(ctx, CLASS_LINK, ctx->si, 0); }
int link_2(struct pt_regs *ctx) { return enter(ctx, CLASS_LINK, ctx->dx, 0); }
int link_3(struct pt_regs *ctx) { return enter(ctx, CLASS_LINK, ctx->cx, 0); }
int neighbour_1(struct pt_regs *ctx) { return enter(ctx, CLASS_NEIGHBOUR, ctx->si, ctx->di); }
int copy(struct pt_regs *ctx) { return enter(ctx, CLASS_COPY, ctx->di, ctx->si); }
int merge(struct pt_regs *ctx) { return enter(ctx, CLASS_MERGE, ctx->di, ctx->si); }
int release_0(struct pt_regs *ctx) { return enter(ctx, CLASS_RELEASE, ctx->di, 0); }
int release_1(struct pt_regs *ctx) { return enter(ctx, CLASS_RELEASE, ctx->si, 0); }
int end(struct pt_regs *ctx) { return enter(ctx, CLASS_END, ctx->di, 0); }
int hook(struct pt_regs *ctx) { return enter(ctx, CLASS_HOOK, ctx->di, ctx->si); }

/* Return of nf_hook_slow. The packet may be gone: its identity was kept at the entry. */
int verdict(struct pt_regs *ctx)
{
    u32 zero = 0, cpu = bpf_get_smp_processor_id();
    struct scratch *s = scratches.lookup(&zero);
    struct counters *c = counts.lookup(&cpu);
    if (!s || !c)
        return 0;
    c->hits++;
    struct event *e = &s->e;
    __builtin_memset(e, 0, sizeof(*e));
    e->time = bpf_ktime_get_ns();
    e->cpu = bpf_get_smp_processor_id();
    e->pid = (u32)bpf_get_current_pid_tgid();
    e->stack = stack_of(ctx->sp, e->cpu);
    struct shadow *shadow = shadow_of(e->stack);
    /* Kernels differ by a word in what they call the stack pointer of a return. */
    if (!shadow || ctx->sp - shadow->hook_sp + 8 > 24)
        return 0;
    e->kind = KIND_VERDICT;
    e->cls = CLASS_HOOK;
    e->hook = 255;
    e->sp = shadow->hook_sp;
    e->skb = shadow->hook_skb;
    e->birth = shadow->hook_birth;
    e->value = (int)ctx->ax;
    shadow->hook_sp = 0;
#if FILTERED
    if (!shadow->hook_matched) {
        put_aside(s);
        return 0;
    }
#endif
    e->flags = FLAG_MATCHED;
    output(ctx, e, c);
    return 0;
}

/* Tracepoint skb:kfree_skb; where its fields are comes from tracefs. */
int drop(void *ctx)
{
    u32 zero = 0, cpu = bpf_get_smp_processor_id();
    struct scratch *s = scratches.lookup(&zero);
    struct counters *c = counts.lookup(&cpu);
    if (!s || !c)
        return 0;
    c->drops++;
    struct event *e = &s->e;
    __builtin_memset(e, 0, sizeof(*e));
    e->time = bpf_ktime_get_ns();
    e->cpu = bpf_get_smp_processor_id();
    e->pid = (u32)bpf_get_current_pid_tgid();
    e->kind = KIND_DROP;
    e->hook = 255;
    READ(&e->skb, sizeof(e->skb), ctx + KFREE_SKB_skbaddr);
    READ(&e->caller, sizeof(e->caller), ctx + KFREE_SKB_location);
#if KFREE_SKB_reason
    READ(&e->value, sizeof(e->value), ctx + KFREE_SKB_reason);
#endif
    if (READ(s->skb, SK_BUFF_BYTES, e->skb))
        return 0;
    e->protocol = skb_u16(s, SK_BUFF_protocol);
    e->head = skb_u64(s, SK_BUFF_head);
    e->len = skb_u32(s, SK_BUFF_len);
    if (!identify(s, c, followed_protocol(e)))
        return 0;
    if (e->flags & FLAG_BORN)
        describe(s);
    else if (followed_protocol(e)) /* by now the device field may be in use for something else */
        describe_header(s);
#if FILTERED
    if (!(e->flags & FLAG_MATCHED) && !wanted(s))
        return 0;
    e->flags |= FLAG_MATCHED;
#endif
    output((struct pt_regs *)ctx, e, c);
    return 0;
}
