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
 * structures from BTF (kpath/capture/program.py), the filter, which programs are wanted, and reading.h. No kernel header
 * is used.
 */

#define MAX_DEPTH 32 /* probed frames alive on one stack; a power of two */
#define STASH_SIZE 32 /* undecided events kept for one stack; a power of two */
#if FILTER_PCAP
#define PACKET_BYTES 128 /* of the packet, from its IP header on; as much as a filter can look at */
#else
#define PACKET_BYTES 80 /* the longest IP header, and what is wanted of the transport header */
#endif
#define DST_BYTES 64
#define HOME_SLOTS 4096 /* stacks of tasks that are found without a search; a power of two */
#define GENERATIONS 4096 /* a power of two */
#define CACHED 8 /* devices and routes that each CPU remembers; a power of two */
#define CACHE_NS 1000000 /* for so long: they hardly ever change, and reading them is half of what an event costs */
#define BPF_F_MMAPABLE 1024
#define RB_NO_WAKEUP 1 /* BPF_RB_NO_WAKEUP: userspace polls, a wake-up would cost more than the event */

#define CLASS_GATE 64 /* added to the class of functions at which a packet that was rejected is looked at again */
#define CLASS_INNER 128 /* added to that of functions without a packet that are about the packet in whose functions they are */
#define PLAIN_CLASS(cls) ((cls) & ~(u64)(CLASS_GATE | CLASS_INNER))
#define KIND_BRIEF 255 /* of an event that is not complete, see frame_aside() */
#define MATCHED 1
#define REJECTED 2 /* passed over, unless it looks otherwise at a gate: translated, sent by another device, marked */
#define LEFT_OUT 3 /* passed over for good, with its copies: others are followed in its place */

struct packet {
    u64 birth;
    u32 matched; /* 0 as long as its header is not complete */
    u32 late; /* it matched after it had been rejected, so what was before is not known */
    u64 looks; /* how it looked when it was rejected */
    u64 first_stash, last_stash; /* stacks + 1 on which its undecided events wait; 0 for none */
};

struct slot {
    u64 sp;
    u64 ret;
};

/* The frames seen on one stack, innermost last, and the hook that is running on it. */
struct shadow {
    u64 stack; /* whose they are */
    u64 depth;
    u64 entered; /* how userspace entered the kernel when these frames were seen, see entry_from_user() */
    u64 hook_sp, hook_skb, hook_birth, hook_matched;
    struct slot slots[MAX_DEPTH];
};

/* Of one stack, where the functions of packets that were passed over had their return addresses; 0 for nowhere. */
struct cut {
    u64 dead; /* the outermost since a frame was last seen there: what was seen below has returned */
    u64 over; /* the outermost that may still be running: whose callers are not known */
    u64 caller; /* its return address */
    u64 entered; /* how userspace entered the kernel when it was seen, on a task's stack */
};

#define FILTER_BY_PLACE (FILTER_NETNS || FILTER_IFINDEX)
#define STASHES 1024 /* a power of two */

struct stash {
    u64 stack; /* whose it is */
    u64 hole; /* two stacks in use have the same place, so what this one had put aside may be gone */
    u64 count;
    u64 cut; /* of them, those before a packet that was passed over */
    struct cut where;
    u64 first; /* for bring_out() */
    u64 floor; /* events before this one were overwritten, even if newer ones were thrown away since */
    u64 spare[6];
};
struct aside {
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

/* What a CPU keeps from one hit to the next, and what is too large for a BPF program's stack. */
struct scratch {
    u64 last_skb, last_birth, last_generation; /* the packet that this CPU saw last, if it is one to be told of */
    u64 rejected_skb, rejected_generation, rejected_looks; /* the last one that was passed over */
    u64 rejected_for_good;
    u64 open_skb, open_generation, open_birth; /* the last one of which nothing is decided yet, at least not here */
    u64 last_late;
    u64 interrupt_stack; /* the bottom of this CPU's */
    u64 cut_interrupt; /* a packet was passed over on that since an event was last put aside */
    struct cut where; /* there */
    u64 passed_over; /* hits that are not counted yet */
    u64 busy, through; /* see reading.h */
    u64 cls, first, second; /* for body(): the class of the function that was hit, and the arguments that matter */
    u64 header, linear; /* for decide() */
    struct device devices[CACHED];
    struct route routes[CACHED];
#if !DIRECT_TYPE
    u8 skb[SK_BUFF_BYTES];
    u8 dst[DST_BYTES];
    u64 user_regs[USER_REGS];
#endif
#if FILTER_PCAP || !DIRECT_TYPE
    u8 packet[PACKET_BYTES];
#endif
    struct shadow blank_shadow, interrupt_shadow;
} __attribute__((aligned(128)));

/* One hit. */
struct run {
    struct scratch *s;
    struct counters *c;
    struct event *e; /* where the event is made: in its place in the buffer, or in this CPU's draft */
    u64 cls, first, second;
    u64 ip, sp; /* the function's first instruction, and where its return address is */
    u64 header; /* address of the IP header */
    u64 linear; /* bytes of the packet that are in the buffer itself, from the IP header on; the rest is in pages */
#if DIRECT_TYPE
    u8 *skb; /* the sk_buff at hand */
#endif
    u32 cpu, drafted;
};

/* One CPU's, two cache lines. */
struct counters {
    u64 sent; /* events that were to go up: received + lost */
    u64 lost; /* of them, did not fit into the buffer */
    u64 hits; /* runs of any program but that of the tracepoint; the last may not be counted yet without COUNT_RUNS */
    u64 drops; /* runs of that */
    u64 no_packet; /* packets that found the table full */
    u64 no_stack; /* stacks that found the table full */
    u64 too_deep; /* frames beyond MAX_DEPTH */
    u64 written; /* events that were put into this CPU's part of the mapped buffer */
    u64 busy; /* hits while another program was running on this CPU (fentry) */
    u64 left_out; /* packets that match the filter and are not followed, because only some are */
    u64 spare[6];
};

BPF_ARRAY(scratches, struct scratch, CPU_PLACES);
BPF_PROG_ARRAY(bodies, 2); /* body(), which all programs at the entry of a function go on to, and decide() */
/* By CPU and mapped into userspace, not per-CPU: a system call that reads a map makes its CPU skip all probes meanwhile. */
BPF_F_TABLE("array", u32, struct counters, counts, CPU_PLACES, BPF_F_MMAPABLE);
#define SCRATCH(cpu) (&ELEMENTS(struct scratch, scratches)[(cpu) & (CPU_PLACES - 1)])
#define COUNTERS(cpu) (&ELEMENTS(struct counters, counts)[(cpu) & (CPU_PLACES - 1)])
/* LRU, because a life whose end a probe missed would otherwise keep its place for ever. */
BPF_TABLE("lru_hash", u64, struct packet, packets, PACKET_SLOTS);
BPF_ARRAY(homes, struct shadow, HOME_SLOTS);
BPF_TABLE("lru_hash", u64, struct shadow, shadows, STACK_SLOTS);
/* By the address of a buffer, how many lives ended there: what a CPU remembers of a packet holds while it stays equal. */
BPF_ARRAY(generations, u64, GENERATIONS);
#if FILTERED
BPF_ARRAY(stashes, struct stash, STASHES);
BPF_ARRAY(asides, struct aside, STASHES);
#endif
#if SAMPLED
struct control {
    u64 one_in, spare[7]; /* of so many packets one is followed; 0 and 1: all are. Written by userspace */
};
BPF_F_TABLE("array", u32, struct control, controls, 1, BPF_F_MMAPABLE);
#endif
struct comm {
    char name[16];
};
BPF_TABLE("lru_hash", u32, struct comm, comms, 4096);

/* The buffer: for each CPU a ring of events that is mapped into userspace (SLOTS of them), and behind all rings a draft
 * for each CPU. Only one program runs on a CPU at a time (bpf_prog_active), so a ring needs no lock, and an event is made
 * where it stays. Without SLOTS there are only the drafts, and the kernel's ring or perf buffer takes the events.
 */
BPF_F_TABLE("array", u32, struct event, places, RINGS * SLOTS + CPUS, BPF_F_MMAPABLE);
struct taken {
    u64 count, spare[7];
};
#if SLOTS
BPF_F_TABLE("array", u32, struct taken, taken, CPU_PLACES, BPF_F_MMAPABLE); /* written by userspace: how many it has read */
#elif RING
BPF_RINGBUF_OUTPUT(events, RING_PAGES);
#else
BPF_PERF_OUTPUT(events);
#endif

/* ---- frames ---- */

#if DIRECT_TYPE
#define ENTRY(s, stack) entry_from_user(0, stack)
#else
#define ENTRY(s, stack) entry_from_user((s)->user_regs, stack)
#endif

/* A task's shadow is found by its stack, in most cases without a search: whoever comes to a place of the array first
 * keeps it, for stacks are used by one task after another. A CPU has one interrupt stack, and only it runs there.
 */
INLINE struct shadow *shadow_of(struct scratch *s, u64 stack)
{
    if (!(stack >> 63))
        return &s->interrupt_shadow;
    struct shadow *home = &ELEMENTS(struct shadow, homes)[(stack * 0x9E3779B97F4A7C15ULL >> 40) & (HOME_SLOTS - 1)];
    if (!home->stack)
        home->stack = stack;
    return home->stack == stack ? home : shadows.lookup(&stack);
}

#if FILTERED
INLINE u32 stash_number(u64 stack)
{
    return (stack * 0x9E3779B97F4A7C15ULL >> 40) & (STASHES - 1);
}

/* The place of a stack, which another stack may have. */
INLINE struct stash *stash_place(u64 stack)
{
    return &ELEMENTS(struct stash, stashes)[stash_number(stack)];
}

/* What was passed over on this stack; 0 if nothing is known of it. */
INLINE struct cut *cut_of(struct scratch *s, u64 stack)
{
    if (!(stack >> 63))
        return &s->where;
    struct stash *stash = stash_place(stack);
    return stash->stack == stack ? &stash->where : 0;
}

/* A packet that was passed over has left no frames, and its functions were called in the same places as those of the
 * packet before: so slots may look alive that are not, and a caller may be missing.
 */
INLINE struct cut where_cut(struct run *r, u64 stack, u64 sp, int root)
{
    struct cut *kept = cut_of(r->s, stack), none = {};
    if (!kept)
        return none;
    if (root || sp >= kept->over)
        kept->over = 0;
    struct cut found = *kept;
    kept->dead = 0;
    return found;
}

/* `stack`: a task's, or 0 for the interrupt stack. */
INLINE void cut_at(struct scratch *s, struct cut *where, u64 stack, u64 sp)
{
    if (sp > where->dead)
        where->dead = sp;
    if (sp > where->over) {
        where->over = sp;
        where->caller = LOOK(u64, sp, 0);
        where->entered = stack ? ENTRY(s, stack) : 0;
    }
}

/* Is this in a function of a packet that was passed over? */
INLINE int is_passed_over(struct scratch *s, u64 stack, u64 sp)
{
    struct cut *where = cut_of(s, stack);
    if (!where || sp >= where->over || LOOK(u64, where->over, 0) != where->caller)
        return 0;
    return !(stack >> 63) || where->entered == ENTRY(s, stack);
}
#endif

/* Drops the frames that have returned and pushes this one; what is then below it is its parent. */
INLINE void find_parent(struct run *r, int root)
{
    struct event *e = r->e;
    u64 key = e->stack;
#if FILTERED
    struct cut cut = where_cut(r, key, e->sp, root);
#else
    struct cut cut = {};
#endif
    struct shadow *shadow = shadow_of(r->s, key);
    if (!shadow) {
        shadows.update(&key, &r->s->blank_shadow);
        shadow = shadows.lookup(&key);
        if (!shadow) {
            r->c->no_stack++;
            return;
        }
    }
    u64 depth = root ? 0 : shadow->depth;
    if (key >> 63) {
        u64 entered = ENTRY(r->s, key);
        if (shadow->entered != entered)
            depth = 0;
        shadow->entered = entered;
    }
    if (depth > MAX_DEPTH)
        depth = MAX_DEPTH;
    for (int i = 0; i < MAX_DEPTH; i++) {
        if (depth == 0)
            break;
        struct slot *top = &shadow->slots[(depth - 1) & (MAX_DEPTH - 1)];
        u64 sp = top->sp, ret = top->ret;
        if (FILTERED && sp <= cut.dead) {
            /* returned */
        } else if (sp > e->sp) {
            /* A live frame's slot still holds its return address; a return probe puts its trampoline there. */
            u64 now = LOOK(u64, sp, 0);
            if ((now == ret || is_trampoline(now)) && (!(key >> 63) || sp - key < THREAD_BYTES)) {
                e->parent_sp = sp;
                break;
            }
        } else if (sp == e->sp && ret == e->caller) {
            e->flags |= FLAG_SAME_SLOT;
        }
        depth--;
    }
    if (cut.over && (!e->parent_sp || e->parent_sp > cut.over))
        e->flags |= FLAG_CUT;
    /* By way of memory, or the verifier goes through all that follows once for each depth. */
    *(volatile u64 *)&shadow->depth = depth;
    depth = *(volatile u64 *)&shadow->depth;
    if (depth >= MAX_DEPTH) {
        r->c->too_deep++;
        return;
    }
    asm volatile("" : "+r"(depth)); /* or the compiler leaves out the mask, and the verifier does not see why it may */
    struct slot *mine = &shadow->slots[depth & (MAX_DEPTH - 1)];
    mine->sp = e->sp;
    mine->ret = e->caller;
    shadow->depth = depth + 1;
}

INLINE void begin(struct run *r)
{
    struct event *e = r->e;
#if FILTERED
    r->c->hits += 1 + r->s->passed_over;
    r->s->passed_over = 0;
#else
    r->c->hits++;
#endif
    e->ip = r->ip;
    e->sp = r->sp;
    e->cls = r->cls;
    e->caller = caller_at(r->sp);
    e->stack = stack_of(e->sp, r->cpu);
    find_parent(r, r->cls == CLASS_ROOT);
}

/* ---- packets ---- */

/* The fields of the sk_buff at hand. */
#if DIRECT_TYPE
#define SKB(type, offset) AT(type, r->skb, offset)
#else
#define SKB(type, offset) (*(type *)(r->s->skb + (offset)))
#endif

/* Makes this the sk_buff at hand; 0 if there is none at that address. */
INLINE int take_skb(struct run *r, u64 skb)
{
    r->e->skb = skb;
#if DIRECT_TYPE
    r->skb = VIEW(skb);
#else
    if (READ(r->s->skb, SK_BUFF_BYTES, skb))
        return 0;
#endif
    r->e->head = SKB(u64, SK_BUFF_head);
    r->e->len = SKB(u32, SK_BUFF_len);
    r->e->protocol = SKB(u16, SK_BUFF_protocol);
    return r->e->head != 0;
}

INLINE struct device *device_at(struct run *r, u64 dev)
{
    struct device *d = &r->s->devices[(dev >> 12) & (CACHED - 1)];
    if (d->address == dev && r->e->time - d->read_at < CACHE_NS)
        return d;
    d->address = dev;
    d->read_at = r->e->time;
    d->ifindex = LOOK(u32, dev, NET_DEVICE_ifindex);
    d->mtu = LOOK(u32, dev, NET_DEVICE_mtu);
    u64 net = LOOK(u64, dev, NET_DEVICE_net);
    d->netns = net ? LOOK(u32, net, NET_inum) : 0;
    return d;
}

INLINE void describe_socket(struct event *e, u64 sk)
{
    u64 net = LOOK(u64, sk, SOCK_net);
    if (net)
        e->netns = LOOK(u32, net, NET_inum);
}

INLINE struct route *route_at(struct run *r, u64 dst)
{
    struct route *known = &r->s->routes[(dst >> 8) & (CACHED - 1)];
    if (known->address == dst && r->e->time - known->read_at < CACHE_NS)
        return known;
#if DIRECT_TYPE
    u8 *there = VIEW(dst);
#define DST(offset) AT(u64, there, offset)
#else
    known->address = 0;
    if (READ(r->s->dst, DST_BYTES, dst))
        return 0;
#define DST(offset) (*(u64 *)(r->s->dst + (offset)))
#endif
    known->address = dst;
    known->read_at = r->e->time;
    known->input = DST(DST_ENTRY_input);
    known->output = DST(DST_ENTRY_output);
    known->xfrm = DST(DST_ENTRY_xfrm);
    known->dev = DST(DST_ENTRY_dev);
    u64 metrics = DST(DST_ENTRY_metrics) & ~3ULL;
    known->mtu = metrics ? LOOK(u32, metrics, 4) : 0; /* RTAX_MTU is metric 2, the array starts at metric 1 */
    return known;
}

INLINE void describe_route(struct run *r, u64 dst)
{
    struct event *e = r->e;
    struct route *route = route_at(r, dst);
    if (!route)
        return;
    e->dst_input = route->input;
    e->dst_output = route->output;
    e->dst_xfrm = route->xfrm;
    e->mtu = route->mtu;
    if (route->dev) {
        struct device *d = device_at(r, route->dev);
        e->out_ifindex = d->ifindex;
        if (!e->mtu)
            e->mtu = d->mtu;
        if (!e->netns)
            e->netns = d->netns;
    }
}

/* The packet's own bytes: looked at where they are, or in a copy. */
#if DIRECT_TYPE
#define BYTES(type, at, offset) LOOK(type, r->header + (at), offset)
#else
#define BYTES(type, at, offset) (*(type *)(r->s->packet + ((at) & 63) + (offset)))
#endif

INLINE void describe_transport(struct run *r, u32 at)
{
    struct event *e = r->e;
    if (e->proto == IPPROTO_TCP || e->proto == IPPROTO_UDP) {
        u64 first = BYTES(u64, at, 0);
        e->sport = first;
        e->dport = first >> 16;
        if (e->proto == IPPROTO_TCP) {
            e->l4 = __builtin_bswap32(first >> 32);
            e->tcp_flags = BYTES(u8, at, 13);
        }
    } else if (e->proto == IPPROTO_ICMP) {
        e->sport = BYTES(u16, at, 0);
        e->l4 = __builtin_bswap32(BYTES(u32, at, 4));
    }
}

/* The header of an IPv4 or ARP packet. On its way in, before the stack has set network_header, it is at skb->data. */
INLINE void describe_header(struct run *r)
{
    struct event *e = r->e;
    u16 network = SKB(u16, SK_BUFF_network_header);
    u64 tail = e->head + SKB(u32, SK_BUFF_tail);
    r->header = network ? e->head + network : SKB(u64, SK_BUFF_data);
    r->linear = tail > r->header ? tail - r->header : 0;
    if (r->linear < 20)
        return;
#if !DIRECT_TYPE
    if (READ(r->s->packet, PACKET_BYTES, r->header))
        return;
#endif
    if (e->protocol == swap16(ETH_P_ARP)) { /* Ethernet ARP: struct arphdr, then MAC, IP, MAC, IP */
        e->arp_op = BYTES(u8, 0, 7);
        e->saddr = BYTES(u32, 0, 14);
        e->daddr = BYTES(u32, 0, 24);
        return;
    }
    u64 first = BYTES(u64, 0, 0); /* few reads, for each costs more than taking it apart */
    u32 words = first & 15;
    if ((first >> 4 & 15) != 4 || words < 5)
        return;
    u64 second = BYTES(u64, 0, 8);
    e->flags |= FLAG_HEADER;
    e->tos = first >> 8;
    e->tot_len = first >> 16;
    e->ip_id = first >> 32;
    e->frag_off = first >> 48;
    e->ttl = second;
    e->proto = second >> 8;
    e->saddr = second >> 32;
    e->daddr = BYTES(u32, 0, 16);
    if (!(swap16(e->frag_off) & 0x1fff) && r->linear >= words * 4 + (e->proto == IPPROTO_TCP ? 20 : 8))
        describe_transport(r, words * 4);
}

INLINE void describe_segments(struct run *r)
{
    struct event *e = r->e;
    u32 gso = LOOK(u32, e->head + SKB(u32, SK_BUFF_end), SKB_SHARED_INFO_gso_size); /* size, then segments */
    e->gso_size = gso;
    e->gso_segs = gso >> 16;
}

/* Everything about a packet that the stack has given a header, a device, a route. e.skb is at hand. */
INLINE void describe(struct run *r)
{
    struct event *e = r->e;
    e->mark = SKB(u32, SK_BUFF_mark);
    e->pkt_type = (SKB(u8, SK_BUFF_pkt_type_BYTE) & SK_BUFF_pkt_type_MASK) >> SK_BUFF_pkt_type_SHIFT;
    if (SKB(u8, SK_BUFF_cloned_BYTE) & SK_BUFF_cloned_MASK)
        e->flags |= FLAG_CLONED;
#if INET_SKB_PARM_frag_max_size == INET_SKB_PARM_flags + 2
    u32 ipcb = SKB(u32, SK_BUFF_cb + INET_SKB_PARM_flags);
    e->ipcb = ipcb;
    e->frag_max = ipcb >> 16;
#else
    e->ipcb = SKB(u16, SK_BUFF_cb + INET_SKB_PARM_flags);
    e->frag_max = SKB(u16, SK_BUFF_cb + INET_SKB_PARM_frag_max_size);
#endif
    u64 dev = SKB(u64, SK_BUFF_dev);
    u64 dst = SKB(u64, SK_BUFF_refdst) & ~1ULL;
    u64 sk = SKB(u64, SK_BUFF_sk);
    if (dev) {
        struct device *d = device_at(r, dev);
        e->ifindex = d->ifindex;
        e->netns = d->netns;
    }
    if (dst)
        describe_route(r, dst);
    if (!e->netns && sk)
        describe_socket(e, sk);
    describe_header(r);
    describe_segments(r);
}

INLINE int followed_protocol(struct event *e)
{
    return e->protocol == swap16(ETH_P_IP) || e->protocol == swap16(ETH_P_ARP);
}

INLINE u64 *generation_of(u64 skb)
{
    return &ELEMENTS(u64, generations)[(skb >> 8) & (GENERATIONS - 1)];
}

INLINE void still_open(struct scratch *s, u64 skb, u64 birth, u64 generation)
{
    s->open_skb = skb;
    s->open_birth = birth;
    s->open_generation = generation;
}

/* Finds or begins the life of this buffer; 0 when it is none that kpath follows. */
INLINE int identify(struct run *r, int begin_life)
{
    struct event *e = r->e;
    u64 key = e->skb;
    u64 *generation = generation_of(key);
    if (r->s->last_skb == key && r->s->last_generation == *generation) {
        e->birth = r->s->last_birth;
        e->flags |= r->s->last_late ? FLAG_MATCHED | FLAG_LATE : FLAG_MATCHED;
        return 1;
    }
#if FILTERED
    /* The end of a packet is told by what all CPUs know of it. */
    if (begin_life && r->s->open_skb == key && r->s->open_generation == *generation) {
        e->birth = r->s->open_birth;
        return 1;
    }
#endif
    struct packet *known = packets.lookup(&key);
    if (known) {
        e->birth = known->birth;
        if (known->matched == MATCHED) {
            e->flags |= known->late ? FLAG_MATCHED | FLAG_LATE : FLAG_MATCHED;
            r->s->last_late = known->late;
            r->s->last_skb = key;
            r->s->last_birth = known->birth;
            r->s->last_generation = *generation;
        } else if (!known->matched) {
            still_open(r->s, key, known->birth, *generation);
        }
        return 1;
    }
    if (!begin_life)
        return 0;
    struct packet fresh = {.birth = e->time, .matched = FILTERED ? 0 : MATCHED};
    if (packets.update(&key, &fresh)) {
        r->c->no_packet++;
        e->flags |= FLAG_TRACK_FULL;
        return 1;
    }
    e->birth = e->time;
    e->flags |= FLAG_BORN;
    if (FILTERED)
        still_open(r->s, key, e->birth, *generation);
    else
        e->flags |= FLAG_MATCHED;
    return 1;
}

/* The name of the thread that runs. */
INLINE void remember_comm(u32 pid)
{
    struct comm comm = {};
    if (!comms.lookup(&pid)) {
        bpf_get_current_comm(&comm.name, sizeof(comm.name));
        comms.update(&pid, &comm);
    }
}

/* ---- to userspace ---- */

#if SLOTS
/* Events in this CPU's ring that userspace has not taken yet. */
INLINE u64 waiting(struct run *r)
{
    return r->c->written - ELEMENTS(struct taken, taken)[r->cpu & (CPU_PLACES - 1)].count;
}
#endif

/* Where in the buffer this CPU's next event goes; its draft when there is no room. */
INLINE int place_event(struct run *r)
{
    u32 at = RINGS * SLOTS + r->cpu;
    r->drafted = 1;
#if SLOTS
    if (r->cpu < RINGS && waiting(r) < SLOTS) {
        r->drafted = 0;
        at = r->cpu * SLOTS + (r->c->written & (SLOTS - 1));
    }
#endif
    r->e = places.lookup(&at);
    return r->e != 0;
}

/* Begins an event. What is filtered is drafted: most of it stays here. */
INLINE int begin_event(struct run *r)
{
#if SLOTS && !FILTERED
    if (!place_event(r))
        return 0;
#else
    u32 at = RINGS * SLOTS + r->cpu;
    r->drafted = 1;
    r->e = places.lookup(&at);
    if (!r->e)
        return 0;
#endif
    __builtin_memset(r->e, 0, sizeof(struct event));
    r->e->time = bpf_ktime_get_ns();
    r->e->cpu = r->cpu;
    r->e->pid = (u32)bpf_get_current_pid_tgid();
    r->e->hook = 255;
    return 1;
}

/* Sends an event up: r->e, or one that was put aside. */
INLINE void output(struct pt_regs *ctx, struct run *r, struct event *e)
{
    struct counters *c = r->c;
    /* The number is of the CPU that sends: a task may have moved since an event of its was kept back. */
    e->cpu = r->cpu;
    e->seq = c->sent;
#if SLOTS
#if FILTERED
    struct event *draft = r->e;
    if (place_event(r) && !r->drafted)
        __builtin_memcpy(r->e, e, sizeof(*e));
    r->e = draft;
#endif
    if (r->drafted)
        c->lost++;
    else {
        asm volatile("" ::: "memory"); /* the event is there before it is said to be */
        c->written++;
    }
#elif RING
    /* Not ringbuf_output, whose copy in the kernel is byte by byte where the processor is said to be good at that. */
    struct event *place = events.ringbuf_reserve(sizeof(*e));
    if (place) {
        __builtin_memcpy(place, e, sizeof(*e));
        events.ringbuf_submit(place, RB_NO_WAKEUP);
    } else {
        c->lost++;
    }
#else
    if (events.perf_submit(ctx, e, sizeof(*e)))
        c->lost++;
#endif
    c->sent++;
}

#if FILTERED
/* What a packet looks like to this filter, and what may change on its way: device, mark, addresses, ports. */
INLINE u64 looks_of(u64 skb)
{
#if DIRECT_TYPE
    u8 *view = VIEW(skb);
#define OF_SKB(type, offset) AT(type, view, offset)
#else
#define OF_SKB(type, offset) LOOK(type, skb, offset)
#endif
    u64 header = OF_SKB(u64, SK_BUFF_head) + OF_SKB(u16, SK_BUFF_network_header);
    u64 looks = 0;
#if FILTER_BY_PLACE
    looks = OF_SKB(u64, SK_BUFF_dev);
#endif
#if FILTER_MARK_MASK
    looks = looks * 31 + OF_SKB(u32, SK_BUFF_mark);
#endif
    looks = looks * 31 + (LOOK(u64, header, 8) & 0xffffffff0000ff00ULL); /* without TTL and checksum */
    looks = looks * 31 + LOOK(u32, header, 16);
    return looks * 31 + LOOK(u32, header, 20);
}

INLINE int wanted(struct run *r)
{
    struct event *e = r->e;
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
#if DIRECT_TYPE
    if (READ(r->s->packet, PACKET_BYTES, r->header))
        return 0;
#endif
    if (!wire) { /* not filled in yet, __ip_local_out does it; of BIG TCP it stays 0 */
        wire = e->len;
        *(u16 *)(r->s->packet + 2) = wire > 0xffff ? 0 : swap16(wire);
    }
    u32 there = wire < r->linear ? wire : r->linear;
    if (!pcap_match(r->s->packet, there < PACKET_BYTES ? there : PACKET_BYTES, wire))
        return 0;
#endif
    return 1;
}

/* From here on this CPU knows the packet as one that was rejected. */
INLINE void pass_over(struct scratch *s, u64 skb, u64 generation, u64 looks, int for_good)
{
    s->rejected_looks = looks;
    s->rejected_for_good = for_good;
    s->rejected_skb = skb;
    s->rejected_generation = generation;
    s->open_skb = 0;
    if (!s->interrupt_stack)
        s->interrupt_stack = interrupt_stack(bpf_get_smp_processor_id());
}

INLINE struct stash *stash_at(u64 stack)
{
    struct stash *stash = stash_place(stack);
    if (stash->stack != stack) {
        stash->hole = stash->stack != 0;
        stash->stack = stack;
        stash->count = stash->cut = stash->floor = stash->where.dead = stash->where.over = 0;
    }
    return stash;
}

/* What waits on this stack may belong to the packet that is passed over. */
INLINE void cut_here(struct scratch *s, u64 sp)
{
#if IRQ_STACK_POINTER
    u64 stack = sp & ~(THREAD_BYTES - 1ULL); /* a task's stack lies at a multiple of its size */
    int interrupt = sp - s->interrupt_stack < THREAD_BYTES;
#else
    u64 stack = stack_of(sp, bpf_get_smp_processor_id());
    int interrupt = !(stack >> 63);
#endif
    if (interrupt) {
        s->cut_interrupt = 1;
        cut_at(s, &s->where, 0, sp);
        return;
    }
    struct stash *stash = stash_at(stack);
    stash->cut = stash->count;
    cut_at(s, &stash->where, stack, sp);
}

INLINE struct stash *stash_of(struct run *r, u64 stack)
{
    struct stash *stash = stash_at(stack);
    if (!(stack >> 63)) {
        if (stack != r->cpu) { /* what that CPU passed over on its interrupt stack is not known here */
            stash->cut = stash->count;
        } else if (r->s->cut_interrupt) {
            stash->cut = stash->count;
            r->s->cut_interrupt = 0;
        }
    }
    return stash;
}

INLINE struct aside *asides_of(u64 stack)
{
    u32 at = stash_number(stack);
#if LARGE_VALUES
    return &ELEMENTS(struct aside, asides)[at];
#else
    return asides.lookup(&at);
#endif
}

INLINE void put_aside(struct run *r, struct packet *packet)
{
    u64 key = r->e->stack;
    struct stash *stash = stash_of(r, key);
    struct aside *aside = asides_of(key);
    if (!aside)
        return;
    if (packet) {
        packet->last_stash = key + 1;
        if (!packet->first_stash)
            packet->first_stash = key + 1;
    }
    r->e->flags |= FLAG_STASHED;
    __builtin_memcpy(&aside->events[stash->count & (STASH_SIZE - 1)], r->e, sizeof(struct event));
    stash->count++;
}

/* Throws away the newest of what waits on this stack as far as it has returned, or is of the packet that is passed over: it
 * led to nothing that is wanted. `sp`: below it nothing is alive.
 */
INLINE void throw_away(u64 stack, u64 sp, u64 skb)
{
    struct stash *stash = stash_place(stack);
    struct aside *aside = asides_of(stack);
    if (!aside || stash->stack != stack)
        return;
    u64 count = stash->count, floor = count > STASH_SIZE ? count - STASH_SIZE : 0;
    if (stash->floor < floor)
        stash->floor = floor;
    floor = stash->floor;
    for (u64 i = 0; i < STASH_SIZE && count > floor; i++) {
        struct event *e = &aside->events[(count - 1) & (STASH_SIZE - 1)];
        u64 now = LOOK(u64, e->sp, 0);
        int alive = e->sp > sp && (now == e->caller || is_trampoline(now));
        if (e->kind == KIND_BRIEF ? alive : e->skb != skb)
            break;
        count--;
    }
    stash->count = count;
    if (stash->cut > count)
        stash->cut = count;
}

/* A function without a packet: its event waits for the packet that comes, and mostly none that is wanted does. So it is
 * made where it waits, and only of what is known; the rest is filled in when it is brought out.
 */
INLINE int frame_aside(struct scratch *s, u64 cls, u64 ip, u64 sp, int inner)
{
    struct run run, *r = &run;
    r->s = s;
    r->cpu = bpf_get_smp_processor_id();
    r->c = COUNTERS(r->cpu);
    r->c->hits++;
    u64 stack = stack_of(sp, r->cpu);
    if (inner && is_passed_over(s, stack, sp))
        return 0;
    struct stash *stash = stash_of(r, stack);
    struct aside *aside = asides_of(stack);
    if (!aside)
        return 0;
    if (cls == CLASS_ROOT)
        throw_away(stack, sp, 0);
    struct event *e = r->e = &aside->events[stash->count & (STASH_SIZE - 1)];
    e->time = bpf_ktime_get_ns();
    e->ip = ip;
    e->sp = sp;
    e->caller = caller_at(sp);
    e->stack = stack;
    e->parent_sp = 0;
    e->pid = (u32)bpf_get_current_pid_tgid();
    e->flags = FLAG_STASHED;
    e->cls = cls;
    e->kind = KIND_BRIEF;
    find_parent(r, cls == CLASS_ROOT);
    stash->count++;
    return 0;
}

INLINE void complete(struct event *e)
{
    u64 time = e->time, ip = e->ip, sp = e->sp, caller = e->caller, stack = e->stack, parent_sp = e->parent_sp;
    u32 pid = e->pid;
    u16 flags = e->flags;
    u8 cls = e->cls;
    __builtin_memset(e, 0, sizeof(*e));
    e->time = time;
    e->ip = ip;
    e->sp = sp;
    e->caller = caller;
    e->stack = stack;
    e->parent_sp = parent_sp;
    e->pid = pid;
    e->flags = flags;
    e->cls = cls;
    e->hook = 255;
}

/* The packet matched: what led to it on this stack goes up first, in order. */
INLINE void bring_out(struct pt_regs *ctx, struct run *r, u64 key)
{
    struct stash *stash = stash_of(r, key);
    struct aside *aside = asides_of(key);
    if (!aside || !stash->count)
        return;
    remember_comm((u32)bpf_get_current_pid_tgid());
    stash->first = stash->count > STASH_SIZE ? stash->count - STASH_SIZE : 0;
    if (stash->first < stash->floor)
        stash->first = stash->floor;
    if (stash->first || stash->hole) /* the oldest were overwritten, or another stack had their place */
        aside->events[stash->first & (STASH_SIZE - 1)].flags |= FLAG_HOLE;
    for (int i = 0; i < STASH_SIZE; i++) {
        /* Read from memory each time: of what is in registers the verifier learns at each turn, and never gets done. */
        u64 at = *(volatile u64 *)&stash->first + i;
        if (at >= *(volatile u64 *)&stash->count)
            break;
        struct event *e = &aside->events[at & (STASH_SIZE - 1)];
        if (e->kind == KIND_BRIEF)
            complete(e);
        if (at < *(volatile u64 *)&stash->cut)
            e->flags |= FLAG_CUT;
        output(ctx, r, e);
    }
    stash->count = stash->cut = stash->floor = 0;
    stash->hole = 0;
}
#endif

#if FILTERED
/* Is this packet, which matches, one of those that are not followed? Decided once in its life. Chance decides, but of the
 * fragments of a packet, which come one by one and are wanted together, what they have in common. When the buffer fills,
 * none is: better some packets are not there at all than all of them with holes.
 */
INLINE int left_out(struct run *r, struct packet *packet)
{
#if SAMPLED
    struct event *e = r->e;
    if (packet && packet->matched == LEFT_OUT)
        return 1;
    struct control *control = ELEMENTS(struct control, controls);
    if (!packet || packet->matched == MATCHED)
        return 0;
    int fragment = (swap16(e->frag_off) & 0x3fff) != 0; /* offset, or more to come */
    int out = 0;
#if SLOTS
    out = !fragment && waiting(r) > SLOTS / 2;
#endif
    if (!out && control->one_in > 1) {
        u64 pick = bpf_get_prandom_u32();
        if (fragment)
            pick = (((u64)e->saddr << 32 ^ (u64)e->ip_id << 24 ^ e->daddr) * 0x9E3779B97F4A7C15ULL) >> 32;
        out = pick * (u32)control->one_in >> 32 != 0;
    }
    if (!out)
        return 0;
    packet->matched = LEFT_OUT;
    r->c->left_out++;
    return 1;
#else
    return 0;
#endif
}
#endif

/* Sends the event up now, or keeps it until its packet is known to be wanted. */
INLINE void send(struct pt_regs *ctx, struct run *r)
{
    struct event *e = r->e;
#if FILTERED
    u64 key = e->skb;
    struct packet *packet = key && !(e->flags & FLAG_MATCHED) ? packets.lookup(&key) : 0;
    if (packet && packet->matched == MATCHED) /* by now, on another CPU */
        e->flags |= FLAG_MATCHED;
    if (key && !(e->flags & FLAG_MATCHED) && (e->flags & FLAG_HEADER || e->arp_op)) {
        int match = wanted(r);
        int for_good = match && left_out(r, packet), over = for_good;
        u64 looks = 0;
        if (!match && (e->ifindex || !FILTER_BY_PLACE)) {
            asm volatile("" : "+r"(packet)); /* or what the compiler asks is not the pointer, and the verifier sees no check */
            if (packet) {
                packet->matched = REJECTED;
                packet->looks = looks = looks_of(key);
                over = 1;
            }
        }
        if (over) {
            pass_over(r->s, key, *generation_of(key), looks, for_good);
            throw_away(e->stack, e->sp, key);
            cut_here(r->s, e->sp);
            return;
        }
        if (!match) {
            put_aside(r, packet);
            return;
        }
        r->s->open_skb = 0;
        if (packet) { /* it may have come by other stacks: a sender's, another CPU's */
            if (packet->matched == REJECTED) {
                packet->late = 1;
                e->flags |= FLAG_LATE;
            }
            packet->matched = MATCHED;
            if (packet->first_stash)
                bring_out(ctx, r, packet->first_stash - 1);
            if (packet->last_stash)
                bring_out(ctx, r, packet->last_stash - 1);
        }
        e->flags |= FLAG_MATCHED;
    }
    if (!(e->flags & FLAG_MATCHED)) {
        put_aside(r, packet);
        return;
    }
    bring_out(ctx, r, e->stack);
#endif
    output(ctx, r, e);
}

/* ---- what each class of function tells; 0 if there is nothing to send ---- */

INLINE int on_root(struct run *r)
{
    remember_comm(r->e->pid);
    return 1;
}

/* nf_hook_slow(skb, state, entries, index): what the second argument says besides. */
INLINE void describe_hook(struct run *r)
{
    struct event *e = r->e;
    u64 state = r->second;
    e->arg = LOOK(u64, state, NF_HOOK_STATE_okfn);
    u64 out = LOOK(u64, state, NF_HOOK_STATE_out);
    u64 net = LOOK(u64, state, NF_HOOK_STATE_net);
    if (out)
        e->out_ifindex = LOOK(u32, out, NET_DEVICE_ifindex);
    if (net)
        e->netns = LOOK(u32, net, NET_inum);
}

/* One packet; `second` is a neighbour or the state of a hook. */
INLINE int on_packet(struct run *r)
{
    struct event *e = r->e;
    u64 cls = r->cls;
    if (cls == CLASS_NEIGHBOUR && !r->first) {
        /* The timer asks a neighbour that is in use with no packet waiting: neigh_probe in net/core/neighbour.c. */
        e->cls = CLASS_FRAME;
        return 1;
    }
    if (!take_skb(r, r->first))
        return 0;
    int ours = followed_protocol(e) || (cls != CLASS_LINK && cls != CLASS_HOOK);
    if (cls == CLASS_HOOK) {
        e->hook = LOOK(u8, r->second, NF_HOOK_STATE_hook);
        e->pf = LOOK(u8, r->second, NF_HOOK_STATE_pf);
        ours |= e->pf == 2;
    }
    if (!identify(r, ours))
        return 0;
    if (cls == CLASS_ORIGIN) {
        u64 sk = SKB(u64, SK_BUFF_sk);
        if (sk)
            describe_socket(e, sk);
        return 1;
    }
    describe(r);
    if (cls == CLASS_NEIGHBOUR) {
        e->arg = r->second;
        e->nud_state = LOOK(u8, r->second, NEIGHBOUR_nud_state);
    } else if (cls == CLASS_HOOK) {
        describe_hook(r);
    }
    return 1;
}

/* Two packets. The second is complete, the first perhaps not yet: describe the second, then say who the first is. */
INLINE int on_pair(struct run *r)
{
    struct event *e = r->e;
    u64 first = r->first;
    if (!take_skb(r, r->second) || !identify(r, followed_protocol(e)))
        return 0;
    int matched = e->flags & FLAG_MATCHED;
#if SAMPLED
    /* A copy of a packet that is left out is left out, too. */
    u64 second = r->second;
    struct packet *of = r->cls == CLASS_COPY && !matched ? packets.lookup(&second) : 0;
    if (of && of->matched == LEFT_OUT) {
        struct packet copy = {.birth = e->time, .matched = LEFT_OUT};
        packets.update(&first, &copy);
        cut_here(r->s, e->sp);
        return 0;
    }
#endif
    if (followed_protocol(e))
        describe_header(r);
    if (r->cls == CLASS_MERGE) {
        struct packet *into = packets.lookup(&first);
        e->other = first;
        if (into)
            e->arg = into->birth;
        return 1;
    }
    e->other = r->second;
    e->arg = e->birth;
    e->skb = first;
    e->birth = 0;
    e->flags &= ~(FLAG_BORN | FLAG_MATCHED);
    identify(r, 1);
    r->s->open_skb = 0;
    if (matched && !(e->flags & FLAG_MATCHED)) {
        struct packet heir = {.birth = e->birth, .matched = MATCHED};
        if (e->birth)
            packets.update(&first, &heir);
        e->flags |= FLAG_MATCHED;
    }
    return 1;
}

/* A buffer is let go of; others may still hold it, unless this is its end. */
INLINE int on_release(struct run *r)
{
    r->e->skb = r->first;
    if (!identify(r, 0))
        return 0;
    if (r->cls == CLASS_END) {
        u64 key = r->first;
        u64 *generation = generation_of(key);
        packets.delete(&key);
        __sync_fetch_and_add(generation, 1);
        r->e->flags |= FLAG_END;
    }
    return 1;
}

/* The verdict comes when the packet may be gone: keep who it was. */
INLINE void expect_verdict(struct run *r)
{
    struct event *e = r->e;
    struct shadow *shadow = shadow_of(r->s, e->stack);
    if (shadow) {
        shadow->hook_sp = e->sp;
        shadow->hook_skb = e->skb;
        shadow->hook_birth = e->birth;
        shadow->hook_matched = e->flags & FLAG_MATCHED;
    }
}

/* ---- the programs ---- */

INLINE void begin_run(struct run *r)
{
    r->cpu = bpf_get_smp_processor_id();
    r->s = SCRATCH(r->cpu);
    r->c = COUNTERS(r->cpu);
}

/* A function was entered: all that there is to do, for any class. */
INLINE void handle(struct pt_regs *ctx, struct run *r)
{
    u64 cls = r->cls;
    if (!begin_event(r))
        return;
    begin(r);
    int tell = 1;
    if (cls == CLASS_ROOT)
        tell = on_root(r);
    else if (cls == CLASS_COPY || cls == CLASS_MERGE)
        tell = on_pair(r);
    else if (cls == CLASS_RELEASE || cls == CLASS_END)
        tell = on_release(r);
    else if (cls != CLASS_FRAME)
        tell = on_packet(r);
    if (!tell)
        return;
#if FILTERED
    r->s->cls = cls;
    r->s->header = r->header;
    r->s->linear = r->linear;
    bodies.call(ctx, 1);
#else
    send(ctx, r);
    if (cls == CLASS_HOOK)
        expect_verdict(r);
#endif
}

/* What all programs at kprobes have in common. One text instead of twenty copies, which would take the compiler and the
 * verifier twenty times as long.
 */
int body(struct pt_regs *ctx)
{
    struct run run = {}, *r = &run;
    begin_run(r);
    r->cls = r->s->cls;
    r->first = r->s->first;
    r->second = r->s->second;
    r->ip = ctx->ip;
    r->sp = ctx->sp;
    handle(ctx, r);
    DONE(r->s);
    return 0;
}

#if FILTERED
/* The second half of handle() where there is a filter: in one piece the verifier finds both too much. */
int decide(struct pt_regs *ctx)
{
    struct run run = {}, *r = &run;
    begin_run(r);
    u32 at = RINGS * SLOTS + r->cpu;
    r->e = places.lookup(&at);
    if (r->e) {
        r->drafted = 1;
        r->cls = r->s->cls;
        r->header = r->s->header;
        r->linear = r->s->linear;
#if DIRECT_TYPE
        r->skb = VIEW(r->e->skb);
#endif
        send(ctx, r);
        if (r->cls == CLASS_HOOK)
            expect_verdict(r);
    }
    DONE(r->s);
    return 0;
}
#endif

#if FILTERED
/* A packet that was rejected costs a look at its mark, and no more. */
INLINE int passed_over(struct scratch *s, u64 cls, u64 sp, u64 skb, int gate)
{
    u64 *generation = generation_of(skb);
    u64 key = skb;
    if (s->rejected_skb != skb || s->rejected_generation != *generation) {
        if (s->open_skb == skb && s->open_generation == *generation)
            return 0;
        struct packet *packet = packets.lookup(&key);
        if (!packet || packet->matched < REJECTED)
            return 0;
        pass_over(s, skb, *generation, packet->looks, packet->matched == LEFT_OUT);
    }
    if (gate && !s->rejected_for_good && s->rejected_looks != looks_of(skb))
        return 0;
#if COUNT_RUNS
    COUNTERS(bpf_get_smp_processor_id())->hits++;
#else
    s->passed_over++;
#endif
    if (cls == CLASS_END) {
        packets.delete(&key);
        __sync_fetch_and_add(generation, 1);
    }
    cut_here(s, sp);
    return 1;
}
#endif

#if FILTERED
/* Is this all that there is to do? */
INLINE int soon_done(struct scratch *s, u64 cls, u64 ip, u64 sp, u64 first)
{
    int inner = cls & CLASS_INNER, gate = cls & CLASS_GATE;
    cls = PLAIN_CLASS(cls);
    if (cls == CLASS_FRAME || cls == CLASS_ROOT) {
        frame_aside(s, cls, ip, sp, inner);
        return 1;
    }
    return cls != CLASS_COPY && cls != CLASS_MERGE && first && passed_over(s, cls, sp, first, gate);
}
#endif

INLINE int enter(struct pt_regs *ctx, u64 cls, u64 first, u64 second)
{
    u32 cpu = bpf_get_smp_processor_id();
    struct scratch *s = SCRATCH(cpu);
#if FENTRY
    struct counters *c = COUNTERS(cpu);
    if (BUSY(s, c))
        return 0;
#endif
#if FILTERED
    if (soon_done(s, cls, ctx->ip, ctx->sp, first)) {
        DONE(s);
        return 0;
    }
#endif
    s->cls = PLAIN_CLASS(cls);
    s->first = first;
    s->second = second;
    bodies.call(ctx, 0);
    DONE(s);
    return 0;
}

#if FENTRY
/* The same at any function by way of fentry: nothing is common, so nothing has to be handed on. */
int traced(struct arguments *ctx)
{
    struct run run = {}, *r = &run;
    begin_run(r);
    if (BUSY(r->s, r->c))
        return 0;
    u64 cls = own_class();
    r->cls = PLAIN_CLASS(cls);
    r->first = as_number(&r->s->through, ctx->first);
    r->ip = own_address();
    u32 caller = 0;
    r->sp = entry_sp(&r->s->through, ctx, &caller);
    if (!r->sp) {
        r->c->busy++;
        DONE(r->s);
        return 0;
    }
#if FILTERED
    if (!soon_done(r->s, cls, r->ip, r->sp, r->first))
#endif
    {
        r->second = as_number(&r->s->through, ctx->second);
        handle((struct pt_regs *)ctx, r);
    }
    DONE(r->s);
    return 0;
}
#endif

/* Return of nf_hook_slow. The packet may be gone: its identity was kept at the entry. */
INLINE void on_verdict(struct pt_regs *ctx, struct run *r, u64 sp, int value)
{
    r->c->hits++;
    u64 stack = stack_of(sp, r->cpu);
    struct shadow *shadow = shadow_of(r->s, stack);
    /* Kernels differ by a word in what they call the stack pointer of a return. */
    if (!shadow || sp - shadow->hook_sp + 8 > 24 || !begin_event(r))
        return;
    struct event *e = r->e;
    e->stack = stack;
    e->kind = KIND_VERDICT;
    e->cls = CLASS_HOOK;
    e->sp = shadow->hook_sp;
    e->skb = shadow->hook_skb;
    e->birth = shadow->hook_birth;
    e->value = value;
    shadow->hook_sp = 0;
#if FILTERED
    if (!shadow->hook_matched) {
        u64 skb = e->skb;
        put_aside(r, skb ? packets.lookup(&skb) : 0);
        return;
    }
#endif
    e->flags = FLAG_MATCHED;
    output(ctx, r, e);
}

int verdict(struct pt_regs *ctx)
{
    struct run run = {}, *r = &run;
    begin_run(r);
    if (BUSY(r->s, r->c))
        return 0;
    on_verdict(ctx, r, ctx->sp, (int)ctx->ax);
    DONE(r->s);
    return 0;
}

#if FENTRY
int verdict_traced(struct arguments *ctx)
{
    struct run run = {}, *r = &run;
    begin_run(r);
    if (BUSY(r->s, r->c))
        return 0;
    u64 sp = as_number(&r->s->through, (u64)ctx) + own_distance();
    on_verdict((struct pt_regs *)ctx, r, sp, (int)ctx->returned);
    DONE(r->s);
    return 0;
}
#endif

/* Tracepoint skb:kfree_skb; where its fields are comes from tracefs. */
INLINE void on_drop(void *ctx, struct run *r)
{
    if (!begin_event(r))
        return;
    r->c->drops++;
    struct event *e = r->e;
    e->kind = KIND_DROP;
    u64 skb = 0;
    READ(&skb, sizeof(skb), ctx + KFREE_SKB_skbaddr);
    READ(&e->caller, sizeof(e->caller), ctx + KFREE_SKB_location);
#if KFREE_SKB_reason
    READ(&e->value, sizeof(e->value), ctx + KFREE_SKB_reason);
#endif
    if (!take_skb(r, skb) || !identify(r, followed_protocol(e)))
        return;
    if (e->flags & FLAG_BORN)
        describe(r);
    else if (followed_protocol(e)) /* by now the device field may be in use for something else */
        describe_header(r);
#if FILTERED
    if (!(e->flags & FLAG_MATCHED) && (!wanted(r) || left_out(r, packets.lookup(&skb))))
        return;
    e->flags |= FLAG_MATCHED;
#endif
    output((struct pt_regs *)ctx, r, e);
}

int drop(void *ctx)
{
    struct run run = {}, *r = &run;
    begin_run(r);
    if (BUSY(r->s, r->c))
        return 0;
    on_drop(ctx, r);
    DONE(r->s);
    return 0;
}
