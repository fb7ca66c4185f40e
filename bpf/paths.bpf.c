/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Paths assembled in the kernel. For each packet the programs keep one record: the hops that it has passed, what decided
 * at each, and a running digest of both, the path's signature. At the packet's end its path is counted, with how long the
 * packet took; the record goes up once for each path that is new, and for a few packets in between, whose hops are timed.
 * Nothing depends on userspace keeping up: whoever reads late reads the same counts.
 *
 * Only functions that have the packet as an argument are probed (kpath/capture/paths.py), so a packet's hops are all that
 * there is to know. Where one stands in another is found as in kpath.bpf.c: a frame is alive while its slot on the stack
 * still holds its return address.
 *
 * Before this text kpath puts the structures of records (kpath/capture/paths.py) and what kpath.bpf.c gets, too.
 */

#define BPF_F_MMAPABLE 1024
#define PROBING 8 /* places at which a path may be in the table */
#define STACKS 4096 /* a power of two */
#define GENERATIONS 4096 /* a power of two */
#define TIMED_MASK 63 /* one packet in so many has its hops timed */
#define CACHED 8 /* devices and routes that each CPU remembers for a tick of the kernel's clock; a power of two */
#define STALE_NS 60000000000ULL
#define PACKET_BYTES 128
#define DST_BYTES 64

#define TRACKS 4096 /* packets under way whose hops are kept; a power of two */

/* A frame that may be alive: in which packet's life (an address is soon used again), and in one word where on the stack
 * it is, the lower half of the return address, and the number of the hop.
 */
struct open {
    u64 life;
    u64 slot;
};
#define SLOT_SP(slot) ((slot) >> 48) /* words from the bottom of the stack */
#define SLOT_CALLER(slot) ((slot) >> 16)
#define SLOT_AT(slot) ((slot) & 0xffff)
#if DIRECT_TYPE
#define FURTHER_OUT(slot, other) ((slot) > ((other) | 0xffffffffffffULL))
typedef u64 counter;
#else /* what the verifiers of kernels without direct reading still follow */
#define FURTHER_OUT(slot, other) (SLOT_SP(slot) > SLOT_SP(other))
typedef int counter;
#endif
#define SAME_PLACE(slot, other) (((slot) ^ (other)) >> 16 == 0)

/* The frames seen on one stack, of all packets, innermost last. */
struct shadow {
    u64 stack;
    u64 entered; /* how userspace entered the kernel when these frames were seen, see reading.h */
    u64 depth;
    struct open frames[OPEN]; /* the first is nobody's */
};

struct packet {
    struct head head;
};

/* A packet in the array, where it is found without a search and where its hops are kept. */
struct track {
    u64 claims;
    struct packet packet;
    struct hop hops[HOPS];
};

struct device {
    u64 address, read_at;
    u32 ifindex, netns;
};

struct route {
    u64 address, read_at, xfrm;
    u32 in, out, mtu, spare;
};

struct scratch {
    u64 cls, first, second; /* for body() */
    struct device devices[CACHED];
    struct route routes[CACHED];
    u64 births;
    u64 busy, through; /* see reading.h */
#if !DIRECT_TYPE
    u8 skb[SK_BUFF_BYTES];
    u8 dst[DST_BYTES];
    u64 user_regs[USER_REGS];
#endif
#if FILTER_PCAP || !DIRECT_TYPE
    u8 packet[PACKET_BYTES];
#endif
    struct packet blank;
} __attribute__((aligned(128)));

#define CLASS_LIGHT_IP 100 /* as CLASS_IP and CLASS_LINK, but nothing of the packet is looked at */
#define CLASS_LIGHT_LINK 101
#define CLASS_INNER 0
#define CLASS_GATE 0 /* as in kpath.bpf.c; here each packet is looked at alike */

/* One hit. */
struct run {
    struct scratch *s;
    struct counters *c;
    struct packet *place;
    struct head *p;
    struct hop *hops; /* 0 when they are not kept */
    struct track *track;
    u64 cls, first, second;
    u64 ip, sp; /* the function's first instruction, the lower half, and where its return address is */
    u64 head, header, linear;
    u64 facts;
    u32 in, out, netns, ifindex;
#if DIRECT_TYPE
    u8 *skb;
#endif
    u32 cpu;
};

/* One CPU's, two cache lines. */
struct counters {
    u64 hits; /* runs of any program; without COUNT_RUNS, hops of packets that have ended */
    u64 born, ended, counted; /* packets: first seen, come to their end, and of these counted under a path */
    u64 unlisted; /* came to their end with the table of paths full */
    u64 no_packet; /* found the table of packets full */
    u64 cut; /* had more hops than a record holds */
    u64 told, untold; /* records sent up, and records for which there was no room (they are tried again) */
    u64 passed; /* packets left out by the filter or by sampling */
    u64 transient; /* packets that were under way when the sampling changed */
    u64 busy; /* hits while another program was running on this CPU (fentry) */
    u64 spare[4];
};

struct taken {
    u64 count, spare[7];
};

/* Written by userspace. */
struct control {
    u64 sample_mask; /* packets are followed whose digest has none of these bits */
    u64 changed; /* when it was changed last, ns; far ahead while probes are being attached */
    u64 spare[6];
};

BPF_ARRAY(scratches, struct scratch, CPU_PLACES);
BPF_PROG_ARRAY(bodies, 1);
/* By CPU and mapped into userspace; only one program runs on a CPU at a time (bpf_prog_active), so nothing is locked. */
BPF_F_TABLE("array", u32, struct counters, counts, CPU_PLACES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct path, paths, RINGS * PATHS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct record, places, RINGS * SLOTS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct taken, taken, CPU_PLACES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct control, controls, 1, BPF_F_MMAPABLE);
BPF_ARRAY(generations, u64, GENERATIONS);
/* By stack. If two stacks in use have the same place, frames are forgotten: then a hop stands in none. */
BPF_ARRAY(homes, struct shadow, STACKS);
BPF_ARRAY(tracks, struct track, TRACKS);
/* For packets whose place in that array another packet has: they are counted, but cannot be told of. LRU, because one
 * whose end a probe missed would otherwise keep its place for ever.
 */
BPF_TABLE("lru_hash", u64, struct packet, packets, PACKET_SLOTS);

/* Arrays are looked into by address (ELEMENTS) only where memory is read directly: elsewhere the verifier would take three
 * times as long, and come near the end of its patience.
 */
INLINE struct scratch *scratch_of(u32 cpu)
{
#if DIRECT_TYPE
    return &ELEMENTS(struct scratch, scratches)[cpu & (CPU_PLACES - 1)];
#else
    return scratches.lookup(&cpu);
#endif
}

INLINE struct counters *counters_of(u32 cpu)
{
#if DIRECT_TYPE
    return &ELEMENTS(struct counters, counts)[cpu & (CPU_PLACES - 1)];
#else
    return counts.lookup(&cpu);
#endif
}

/* ---- the packet at hand ---- */

#if DIRECT_TYPE
#define COPY(scratch) 0
#else
#define COPY(scratch) ((scratch)->user_regs)
#endif

#if DIRECT_TYPE
#define SKB(type, offset) AT(type, r->skb, offset)
#define BYTES(type, offset) LOOK(type, r->header, offset)
#else
#define SKB(type, offset) (*(type *)(r->s->skb + (offset)))
#define BYTES(type, offset) (*(type *)(r->s->packet + (offset)))
#endif

INLINE int take_skb(struct run *r, u64 skb)
{
#if DIRECT_TYPE
    r->skb = VIEW(skb);
#else
    if (READ(r->s->skb, SK_BUFF_BYTES, skb))
        return 0;
#endif
    r->head = SKB(u64, SK_BUFF_head);
    return r->head != 0;
}

INLINE u64 mix(u64 hash, u64 word)
{
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
    return hash ^ hash >> 32;
}

INLINE u64 *generation_of(u64 skb)
{
    return &ELEMENTS(u64, generations)[(skb >> 8) & (GENERATIONS - 1)];
}

INLINE struct device *device_at(struct run *r, u64 dev)
{
    struct device *d = &r->s->devices[(dev >> 12) & (CACHED - 1)];
    u64 now = bpf_jiffies64(); /* two instructions, where a clock takes fifty */
    if (d->address == dev && d->read_at == now)
        return d;
    d->address = dev;
    d->read_at = now;
    d->ifindex = LOOK(u32, dev, NET_DEVICE_ifindex);
    u64 net = LOOK(u64, dev, NET_DEVICE_net);
    d->netns = net ? LOOK(u32, net, NET_inum) : 0;
    return d;
}

INLINE struct route *route_at(struct run *r, u64 dst)
{
    struct route *known = &r->s->routes[(dst >> 8) & (CACHED - 1)];
    u64 now = bpf_jiffies64();
    if (known->address == dst && known->read_at == now)
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
    known->read_at = now;
    known->in = DST(DST_ENTRY_input);
    known->out = DST(DST_ENTRY_output);
    known->xfrm = DST(DST_ENTRY_xfrm) ? FACT_XFRM : 0;
    u64 dev = DST(DST_ENTRY_dev), metrics = DST(DST_ENTRY_metrics) & ~3ULL;
    u32 mtu = metrics ? LOOK(u32, metrics, 4) : 0; /* RTAX_MTU is metric 2, the array starts at metric 1 */
    if (!mtu && dev)
        mtu = LOOK(u32, dev, NET_DEVICE_mtu);
    known->mtu = mtu;
    return known;
}

INLINE void describe_route(struct run *r, u32 len)
{
    u64 dst = SKB(u64, SK_BUFF_refdst) & ~1ULL;
    struct route *route = dst ? route_at(r, dst) : 0;
    if (!route)
        return;
    r->in = route->in;
    r->out = route->out;
    r->facts |= route->xfrm;
    if (route->mtu)
        r->facts |= len > route->mtu ? FACT_OVER_MTU : FACT_WITHIN_MTU;
}

/* What the header says, compared with the hop before: addresses, identification, TTL. */
INLINE void describe_header(struct run *r, int arp)
{
    struct head *p = r->p;
    u64 head = r->head;
    u64 network = SKB(u16, SK_BUFF_network_header);
    u64 tail = head + SKB(u32, SK_BUFF_tail);
    r->header = network ? head + network : SKB(u64, SK_BUFF_data);
    r->linear = tail > r->header ? tail - r->header : 0;
    if (r->linear < 20)
        return;
#if !DIRECT_TYPE
    if (READ(r->s->packet, PACKET_BYTES, r->header))
        return;
#endif
    u64 first = BYTES(u64, 0), second = BYTES(u64, 8);
    if (arp) {
        r->facts |= (first >> 56 & 3) << FACT_ARP_SHIFT;
        if (!p->saddr) {
            p->saddr = BYTES(u32, 14);
            p->daddr = BYTES(u32, 24);
        }
        return;
    }
    if ((first >> 4 & 15) != 4 || (first & 15) < 5)
        return;
    u32 saddr = second >> 32, daddr = BYTES(u32, 16);
    u16 id = first >> 32, frag = swap16(first >> 48);
    u8 ttl = second, proto = second >> 8;
    u64 facts = FACT_HEADER | proto;
    if (frag & 0x4000)
        facts |= FACT_DF;
    if (frag & 0x3fff)
        facts |= FACT_FRAGMENT;
    if (ttl <= 1)
        facts |= FACT_EXPIRED;
    if (p->shown) {
        facts |= FACT_COMPARED;
        if (saddr != p->last_saddr || daddr != p->last_daddr) {
            facts |= FACT_READDRESSED;
        } else if (id == p->ip_id && proto == p->proto) {
            facts |= FACT_SAME_ID | (u64)(u8)(ttl - p->ttl) << FACT_TTL_SHIFT;
        }
    } else {
        p->shown = 1;
        p->saddr = saddr;
        p->daddr = daddr;
        p->first_proto = proto;
        if ((proto == IPPROTO_TCP || proto == IPPROTO_UDP) && !(frag & 0x1fff) && (first & 15) == 5 && r->linear >= 24)
            p->ports = BYTES(u32, 20);
    }
    p->last_saddr = saddr;
    p->last_daddr = daddr;
    p->ip_id = id;
    p->ttl = ttl;
    p->proto = proto;
    r->facts |= facts;
}

INLINE void describe(struct run *r)
{
    u64 cls = r->cls;
    u16 protocol = SKB(u16, SK_BUFF_protocol);
    int arp = protocol == swap16(ETH_P_ARP);
    u64 dev = SKB(u64, SK_BUFF_dev);
    r->facts |= (u64)(arp ? 2 : protocol == swap16(ETH_P_IP) ? 1 : protocol ? 3 : 0) << FACT_ETHER_SHIFT;
    if (dev) {
        struct device *d = device_at(r, dev);
        r->ifindex = d->ifindex;
        r->netns = d->netns;
    }
    describe_header(r, arp);
    if (cls == CLASS_LINK) /* nothing is decided by its route there */
        return;
    u32 gso = LOOK(u16, r->head + SKB(u32, SK_BUFF_end), SKB_SHARED_INFO_gso_size);
    if (gso)
        r->facts |= FACT_GSO;
    describe_route(r, SKB(u32, SK_BUFF_len));
    if (cls == CLASS_IP) {
        if (SKB(u16, SK_BUFF_cb + INET_SKB_PARM_frag_max_size))
            r->facts |= FACT_WAS_FRAGMENTS;
        if (SKB(u16, SK_BUFF_cb + INET_SKB_PARM_flags) & 16) /* IPSKB_REROUTED, include/net/ip.h */
            r->facts |= FACT_REROUTED;
    } else if (cls == CLASS_NEIGHBOUR) {
        r->facts |= (u64)LOOK(u8, r->second, NEIGHBOUR_nud_state) << FACT_NUD_SHIFT;
    } else if (cls == CLASS_HOOK) {
        u64 hook = LOOK(u8, r->second, NF_HOOK_STATE_hook), pf = LOOK(u8, r->second, NF_HOOK_STATE_pf);
        r->facts |= hook << FACT_HOOK_SHIFT | pf << FACT_PF_SHIFT;
        r->in = LOOK(u64, r->second, NF_HOOK_STATE_okfn);
    }
}

/* ---- records ---- */

/* Is this packet one to be followed? It is the same for all of its life, and takes no place in a table. */
INLINE int sampled(struct run *r, u64 skb)
{
    struct control *control = ELEMENTS(struct control, controls);
    return !control->sample_mask || !(mix(skb, *generation_of(skb)) & control->sample_mask);
}

INLINE struct track *track_of(u64 skb)
{
    u32 at = (u32)(skb * 0x9E3779B97F4A7C15ULL >> 40) & (TRACKS - 1);
#if LARGE_VALUES
    return &ELEMENTS(struct track, tracks)[at];
#else
    return tracks.lookup(&at);
#endif
}

/* Takes the place for a new packet: free, or held by one that is so old that its end must have been missed. Of two CPUs
 * that come at once at most one gets it; no instruction that every kernel has tells more.
 */
INLINE int claim(struct track *t, u64 now)
{
    int stale = t->claims == 1 && now - t->packet.head.birth > STALE_NS;
    if (t->claims && !stale)
        return 0;
    __sync_fetch_and_add(&t->claims, 1);
    int mine = *(volatile u64 *)&t->claims == 1 + stale;
    if (!mine || stale)
        __sync_fetch_and_add(&t->claims, -1);
    return mine;
}

INLINE int take_track(struct run *r, struct track *t)
{
    r->track = t;
    r->place = &t->packet;
    r->p = &t->packet.head;
    r->hops = t->hops;
    return 1;
}

INLINE int take_packet(struct run *r, u64 key)
{
    r->track = 0;
    r->hops = 0;
    r->place = packets.lookup(&key);
    if (!r->place)
        return 0;
    r->p = &r->place->head;
    return 1;
}

/* A new packet, with nothing or (`past`) with what another has been through. */
INLINE int begin_packet(struct run *r, u64 skb, u64 now, struct packet *past, struct hop *hops)
{
    struct track *t = track_of(skb);
    u64 key = skb, count = past->head.count;
    u64 life = ++r->c->born << 16 | r->cpu, origin = past->head.life;
    if (t && claim(t, now)) {
        t->packet = *past;
        asm volatile("" : "+r"(count));
        if (hops && count <= HOPS)
            READ(t->hops, count * sizeof(struct hop), hops);
        take_track(r, t);
    } else if (packets.update(&key, past)) {
        r->c->born--;
        r->c->no_packet++;
        return 0;
    } else if (!take_packet(r, skb)) {
        return 0;
    }
    r->p->skb = skb;
    r->p->life = life;
    r->p->origin = origin;
    r->p->inherited = count;
    return 1;
}

INLINE void end_packet(struct run *r, u64 skb)
{
    u64 key = skb;
    if (r->track) {
        r->p->skb = 0;
        __sync_fetch_and_add(&r->track->claims, -1);
    } else {
        packets.delete(&key);
    }
}

INLINE int known(struct run *r, u64 skb)
{
    struct track *t = track_of(skb);
    if (t && t->packet.head.skb == skb)
        return take_track(r, t);
    return take_packet(r, skb);
}

/* Finds the packet, or begins to follow it; 0 when it is none that is followed. */
INLINE int find(struct run *r, u64 skb, int begin)
{
    if (known(r, skb))
        return 1;
    if (!begin || !sampled(r, skb))
        return 0;
    struct control *control = ELEMENTS(struct control, controls);
    struct head *blank = &r->s->blank.head;
    blank->birth = bpf_ktime_get_ns();
    blank->hash = SEED;
    blank->timed = (r->s->births++ & TIMED_MASK) == 0;
    blank->transient = blank->birth < control->changed + 1000000000ULL;
    blank->matched = !FILTERED;
    return begin_packet(r, skb, blank->birth, &r->s->blank, 0);
}

/* The bottom of the stack that this is on: the task's, this CPU's interrupt stack, or else the nearest multiple. */
INLINE u64 bottom_of(u64 sp)
{
    u64 task = LOOK(u64, bpf_get_current_task(), TASK_STRUCT_stack);
    if (sp - task < THREAD_BYTES)
        return task;
    u64 interrupt = interrupt_stack(bpf_get_smp_processor_id());
    return sp - interrupt < THREAD_BYTES ? interrupt : sp & ~(THREAD_BYTES - 1ULL);
}

/* How userspace entered the kernel, if this is the task's stack (see reading.h); 0 on another. `copy`: USER_REGS words. */
INLINE u64 entry_of(u64 *copy, u64 base)
{
    return base == LOOK(u64, bpf_get_current_task(), TASK_STRUCT_stack) ? entry_from_user(copy, base) : 0;
}

INLINE struct shadow *shadow_of(u64 base)
{
    u32 at = (u32)(base * 0x9E3779B97F4A7C15ULL >> 40) & (STACKS - 1);
#if DIRECT_TYPE
    struct shadow *shadow = &ELEMENTS(struct shadow, homes)[at];
#else
    struct shadow *shadow = homes.lookup(&at);
#endif
    if (shadow && shadow->stack != base) {
        shadow->stack = base;
        shadow->depth = 0;
    }
    return shadow;
}

/* Where it may be that this is another system call than the one of the hop before: what was alive is not alive any more. */
INLINE void check_entry(struct run *r, u64 sp)
{
    u64 base = LOOK(u64, bpf_get_current_task(), TASK_STRUCT_stack);
    if (sp - base >= THREAD_BYTES) /* on another stack nobody comes from userspace */
        return;
    struct shadow *shadow = shadow_of(base);
    u64 entered = entry_from_user(COPY(r->s), base);
    if (!shadow)
        return;
    if (shadow->entered != entered)
        shadow->depth = 0;
    shadow->entered = entered;
}

INLINE int is_alive(u64 base, u64 slot)
{
    u64 at = base + SLOT_SP(slot) * 8, now = LOOK(u32, at, 0);
    return now == (u32)SLOT_CALLER(slot) || is_trampoline(now | KERNEL_HALF);
}

/* Is this frame of the packet's, or of that which it is a copy of? */
INLINE int is_own(struct head *p, struct open *frame)
{
    return frame->life == p->life || (frame->life == p->origin && SLOT_AT(frame->slot) < p->inherited);
}

/* Finds the hop that this one stands in, whatever is on the stack: p->found, p->scratch (bits) and shadow->depth. These
 * are results by way of memory, or the verifier goes through all that follows once for each depth.
 */
INLINE void search(struct head *p, struct shadow *shadow, u64 slot, u32 bits)
{
    u64 depth = shadow->depth;
    u32 parent = 0;
    if (depth > OPEN - 1)
        depth = OPEN - 1;
    /* What has returned goes from the top; what is left may be another packet's, in whose frames this one is. */
    for (counter i = 0; i < OPEN; i++) {
        if (depth == 0)
            break;
        struct open *top = &shadow->frames[depth & (OPEN - 1)];
        if (FURTHER_OUT(top->slot, slot)) {
            if (is_alive(shadow->stack, top->slot)) {
                if (is_own(p, top))
                    parent = SLOT_AT(top->slot) + 1;
                break;
            }
        } else if (SAME_PLACE(top->slot, slot) && top->life == p->life) {
            bits |= HOP_SAME_SLOT;
        }
        depth--;
    }
    *(volatile u64 *)&shadow->depth = depth;
    *(volatile u32 *)&p->scratch = bits;
    *(volatile u32 *)&p->found = parent;
    parent = *(volatile u32 *)&p->found;
    depth = *(volatile u64 *)&shadow->depth;
    u64 look = parent ? 0 : depth;
    for (counter i = 0; i < OPEN; i++) {
        if (look == 0)
            break;
        struct open *top = &shadow->frames[look & (OPEN - 1)];
        if (is_own(p, top)) {
            if (is_alive(shadow->stack, top->slot))
                parent = SLOT_AT(top->slot) + 1;
            break;
        }
        look--;
    }
    *(volatile u32 *)&p->found = parent;
}

/* Adds a hop, with the hop that it stands in. `r` is 0 where nothing is asked of the packet: every instruction counts
 * here, so what is stored together is stored as one word. `ip` and `caller` are the lower halves; without `sp` the hop
 * stands nowhere.
 */
INLINE void step(struct head *p, struct hop *hops, u64 ip, u64 caller, u64 sp, struct run *r, u64 *copy)
{
    u64 base = p->base, depth = OPEN;
    int same = sp - base < THREAD_BYTES;
    if (!same && (!r || sp))
        base = bottom_of(sp);
    u64 slot = (sp - base) << 45 | caller << 16;
    u64 bits = r ? 0 : HOP_LIGHT, parent = 0, life = p->life;
    struct shadow *shadow = !r || sp ? shadow_of(base) : 0;
    if (shadow) {
        int simple = 0;
        depth = shadow->depth;
        struct open *top = &shadow->frames[depth & (OPEN - 1)];
        u64 under = top->slot;
        if (same && top->life == life) {
            if (!FURTHER_OUT(under, slot)) { /* the last has returned: mostly just one has */
                if (SAME_PLACE(under, slot))
                    bits |= HOP_SAME_SLOT;
                depth--;
                top = &shadow->frames[depth & (OPEN - 1)];
                under = top->slot;
                simple = top->life == life && FURTHER_OUT(under, slot) && is_alive(base, under);
            } else {
                simple = is_alive(base, under);
            }
            parent = SLOT_AT(under) + 1;
        }
        if (!simple) {
            bits = r ? 0 : HOP_LIGHT;
            if (!same) {
                bits |= HOP_NEW_STACK;
                p->base = base;
                if (!shadow->depth)
                    shadow->entered = entry_of(copy, base);
            }
            search(p, shadow, slot, bits);
            parent = *(volatile u32 *)&p->found;
            bits = *(volatile u32 *)&p->scratch;
            depth = *(volatile u64 *)&shadow->depth;
        }
    }
    u64 place = ip | caller << 32, stands = parent | bits << 8;
    p->hash = mix(p->hash, place) + stands;
    if (r) {
        p->hash = mix(p->hash, r->facts);
        p->hash = mix(p->hash, r->in | (u64)r->out << 32);
        p->hash = mix(p->hash, r->ifindex | (u64)r->netns << 32);
    }
    u64 n = p->count;
    asm volatile("" : "+r"(n)); /* or the compiler leaves out a check, and the verifier does not see why it may */
    if (n >= HOPS) {
        p->full = 1;
        return;
    }
    p->count = n + 1;
    if (hops) {
        struct hop *hop = &hops[n];
        *(u64 *)&hop->ip = place;
        *(u32 *)&hop->sp = slot >> 48 | stands << 16;
        if (p->timed)
            hop->after = bpf_ktime_get_ns() - p->birth;
        if (r) {
            hop->in = r->in;
            hop->out = r->out;
            hop->netns = r->netns;
            hop->ifindex = r->ifindex;
            hop->facts = r->facts;
        }
    }
    depth++;
    if (shadow && depth < OPEN) {
        asm volatile("" : "+r"(depth));
        struct open *mine = &shadow->frames[depth & (OPEN - 1)];
        mine->life = life;
        mine->slot = slot | n;
        shadow->depth = depth;
    }
}

#define RETURN_ADDRESS(sp) LOOK(u32, sp, 0)
#define HERE(ctx) (*(u32 *)&(ctx)->ip)

/* ---- the end ---- */

/* Two buckets for each doubling. */
INLINE u32 bucket_of(u64 ns)
{
    u32 log = 0;
    if (ns >> 32)
        return BUCKETS - 1;
    u32 v = ns;
    if (v >> 16) { log += 16; v >>= 16; }
    if (v >> 8) { log += 8; v >>= 8; }
    if (v >> 4) { log += 4; v >>= 4; }
    if (v >> 2) { log += 2; v >>= 2; }
    if (v >> 1) log += 1;
    return log ? 2 * log + ((u32)ns >> (log - 1) & 1) : 0;
}

INLINE void tell(struct run *r, struct path *path)
{
    struct taken *read = taken.lookup(&r->cpu);
    u32 at = r->cpu * SLOTS + (r->c->told & (SLOTS - 1));
    struct record *place = places.lookup(&at);
    /* Of known paths only as many as leave room for new ones. */
    if (!place || !read || !r->hops || r->c->told - read->count >= (path->told ? SLOTS / 2 : SLOTS)) {
        r->c->untold++;
        return;
    }
    place->head = *r->p;
    READ(place->hops, sizeof(place->hops), r->hops);
    asm volatile("" ::: "memory"); /* the record is there before it is said to be */
    r->c->told++;
    path->told = 1;
}

INLINE void count_path(struct run *r, u64 now)
{
    struct head *p = r->p;
    struct counters *c = r->c;
    c->ended++;
#if !COUNT_RUNS
    c->hits += p->count - p->inherited;
#endif
    if (!p->matched) {
        c->passed++;
        return;
    }
    if (p->transient) {
        c->transient++;
        return;
    }
    if (p->full)
        c->cut++;
    u64 hash = p->hash ? p->hash : 1;
    p->last = now;
    for (int i = 0; i < PROBING; i++) {
        u32 at = r->cpu * PATHS + ((hash + i) & (PATHS - 1));
        struct path *path = r->cpu < RINGS ? paths.lookup(&at) : 0;
        if (!path)
            break;
        if (path->hash && path->hash != hash)
            continue;
        u64 took = now - p->birth;
        path->hash = hash;
        path->count++;
        path->took += took;
        path->last = now;
        path->buckets[bucket_of(took) & (BUCKETS - 1)]++;
        c->counted++;
        if (!path->told || p->timed)
            tell(r, path);
        return;
    }
    c->unlisted++;
}

/* ---- the programs ---- */

#if FILTERED
INLINE int wanted(struct run *r)
{
    if (!(r->facts & FACT_HEADER))
        return 0;
#if FILTER_NETNS
    if (r->netns != FILTER_NETNS)
        return 0;
#endif
#if FILTER_IFINDEX
    if (r->ifindex != FILTER_IFINDEX)
        return 0;
#endif
#if FILTER_MARK_MASK
    if ((SKB(u32, SK_BUFF_mark) & FILTER_MARK_MASK) != FILTER_MARK)
        return 0;
#endif
#if FILTER_PCAP
#if DIRECT_TYPE
    if (READ(r->s->packet, PACKET_BYTES, r->header))
        return 0;
#endif
    u32 wire = swap16(*(u16 *)(r->s->packet + 2));
    if (!wire) /* not filled in yet: __ip_local_out does it */
        wire = SKB(u32, SK_BUFF_len);
    u32 there = wire < r->linear ? wire : r->linear;
    if (!pcap_match(r->s->packet, there < PACKET_BYTES ? there : PACKET_BYTES, wire))
        return 0;
#endif
    return 1;
}
#endif

INLINE int begin_run(struct run *r)
{
    r->cpu = bpf_get_smp_processor_id();
    r->s = scratch_of(r->cpu);
    r->c = counters_of(r->cpu);
    r->facts = r->in = r->out = r->netns = r->ifindex = r->linear = r->header = 0;
    if (!r->s || !r->c)
        return 0;
#if COUNT_RUNS
    r->c->hits++;
#endif
    return 1;
}

/* A packet in a function; 0 when it is none that kpath follows. */
INLINE int on_packet(struct run *r)
{
    u64 cls = r->cls;
    if (!r->first || !take_skb(r, r->first))
        return 0;
    u16 protocol = SKB(u16, SK_BUFF_protocol);
    int ours = (cls != CLASS_LINK && cls != CLASS_HOOK && cls != CLASS_LIGHT_LINK) || protocol == swap16(ETH_P_IP) || protocol == swap16(ETH_P_ARP) ||
               (cls == CLASS_HOOK && LOOK(u8, r->second, NF_HOOK_STATE_pf) == 2);
    if (!find(r, r->first, ours))
        return 0;
    if (cls == CLASS_ORIGIN || cls == CLASS_LIGHT_LINK || cls == CLASS_LIGHT_IP)
        return 1;
    describe(r);
#if FILTERED
    if (!r->p->matched && wanted(r))
        r->p->matched = 1;
#endif
    return 1;
}

/* A copy of a packet that is not followed because of the sampling is not followed, either. */
INLINE void leave_out(struct run *r)
{
    struct control *control = ELEMENTS(struct control, controls);
    struct head *blank = &r->s->blank.head;
    if (r->cls != CLASS_COPY || !control->sample_mask || known(r, r->first))
        return;
    blank->birth = bpf_ktime_get_ns();
    blank->hash = SEED;
    blank->timed = blank->transient = blank->matched = 0;
    begin_packet(r, r->first, blank->birth, &r->s->blank, 0);
}

/* Two packets: the first becomes a copy of the second, and has its past; or the second is merged into the first. */
INLINE int on_pair(struct run *r)
{
    if (!r->first || !r->second || !take_skb(r, r->second))
        return 0;
    u16 protocol = SKB(u16, SK_BUFF_protocol);
    if (!find(r, r->second, protocol == swap16(ETH_P_IP) || protocol == swap16(ETH_P_ARP))) {
        leave_out(r);
        return 0;
    }
    if (r->cls == CLASS_MERGE)
        return 1;
    struct packet *past = r->place;
    struct hop *hops = r->hops;
    if (known(r, r->first)) { /* what waited in the list of a reassembled packet goes out again as a fragment of it */
        count_path(r, past->head.birth);
        end_packet(r, r->first);
    }
    return begin_packet(r, r->first, past->head.birth, past, hops);
}

/* A function was entered: all that there is to do, for any class. */
INLINE void handle(struct run *r, u32 caller)
{
    u64 cls = r->cls;
    if (cls == CLASS_COPY || cls == CLASS_MERGE) {
        if (!on_pair(r))
            return;
    } else if (cls == CLASS_RELEASE || cls == CLASS_END) {
        if (!find(r, r->first, 0)) {
            if (cls == CLASS_END)
                __sync_fetch_and_add(generation_of(r->first), 1);
            return;
        }
    } else if (!on_packet(r)) {
        return;
    }
    if (cls == CLASS_ORIGIN || cls == CLASS_RELEASE || cls == CLASS_END)
        check_entry(r, r->sp);
#if DIRECT_TYPE /* else it would be too much for old verifiers */
    if (r->cls == CLASS_HOOK) /* where others, another kpath to begin with, have return probes */
        caller = caller_at(r->sp);
#endif
    step(r->p, r->hops, r->ip, caller, r->sp, r, COPY(r->s));
    if (cls == CLASS_END) {
        count_path(r, bpf_ktime_get_ns());
        end_packet(r, r->first);
        __sync_fetch_and_add(generation_of(r->first), 1);
    }
}

int body(struct pt_regs *ctx)
{
    struct run run, *r = &run;
    if (!begin_run(r))
        return 0;
    r->cls = r->s->cls;
    r->first = r->s->first;
    r->second = r->s->second;
    r->ip = HERE(ctx);
    r->sp = ctx->sp;
    handle(r, RETURN_ADDRESS(r->sp));
    DONE(r->s);
    return 0;
}

INLINE int go_on(struct pt_regs *ctx, struct scratch *s, u64 cls, u64 first, u64 second)
{
    s->cls = cls;
    s->first = first;
    s->second = second;
    bodies.call(ctx, 0);
    DONE(s);
    return 0;
}

INLINE int enter(struct pt_regs *ctx, u64 cls, u64 first, u64 second)
{
    u32 cpu = bpf_get_smp_processor_id();
    struct scratch *s = scratch_of(cpu);
    if (!s)
        return 0;
#if FENTRY
    struct counters *c = counters_of(cpu);
    if (BUSY(s, c))
        return 0;
#endif
    return go_on(ctx, s, cls, first, second);
}

/* A function of whose packet nothing is asked but that it was there: most are. 0 if the packet is not at its place. */
INLINE int light(u64 *copy, u64 skb, u64 ip, u64 caller, u64 sp)
{
    struct track *t = track_of(skb);
    if (!t || !skb || t->packet.head.skb != skb)
        return 0;
    step(&t->packet.head, t->hops, ip, caller, sp, 0, copy);
    return 1;
}

INLINE int pass(struct pt_regs *ctx, u64 cls, u64 skb)
{
#if COUNT_RUNS || FENTRY || !DIRECT_TYPE
    u32 cpu = bpf_get_smp_processor_id();
    struct scratch *s = scratch_of(cpu);
    struct counters *c = counters_of(cpu);
    if (!s || !c || BUSY(s, c))
        return 0;
    if (!light(COPY(s), skb, HERE(ctx), RETURN_ADDRESS(ctx->sp), ctx->sp))
        return go_on(ctx, s, cls, skb, 0);
#if COUNT_RUNS
    c->hits++;
#endif
    DONE(s);
    return 0;
#else
    return light(0, skb, HERE(ctx), RETURN_ADDRESS(ctx->sp), ctx->sp) ? 0 : enter(ctx, cls, skb, 0);
#endif
}

#if FENTRY
/* A packet that is new, or not at its place, in a function at which it is not looked at. */
INLINE void light_slowly(struct run *r, u32 caller)
{
    if (!r->first || !take_skb(r, r->first))
        return;
    u16 protocol = SKB(u16, SK_BUFF_protocol);
    int ours = r->cls == CLASS_LIGHT_IP || protocol == swap16(ETH_P_IP) || protocol == swap16(ETH_P_ARP);
    if (find(r, r->first, ours))
        step(r->p, r->hops, r->ip, caller, r->sp, r, COPY(r->s));
}

INLINE int trace(struct arguments *ctx, int is_light)
{
    u32 cpu = bpf_get_smp_processor_id(), caller = 0;
    struct scratch *s = scratch_of(cpu);
    struct counters *c = counters_of(cpu);
    if (!s || !c)
        return 0;
#if COUNT_RUNS
    c->hits++;
#endif
    if (BUSY(s, c))
        return 0;
    u64 first = as_number(&s->through, ctx->first), ip = own_low();
    u64 sp = entry_sp(&s->through, ctx, &caller);
    if (!sp) {
        c->busy++;
    } else if (!is_light || !light(COPY(s), first, ip, caller, sp)) {
        struct run run = {.cpu = cpu, .s = s, .c = c, .cls = own_class(), .first = first, .ip = ip, .sp = sp};
        if (is_light) {
            light_slowly(&run, caller);
        } else {
            run.second = as_number(&s->through, ctx->second);
            handle(&run, caller);
        }
    }
    DONE(s);
    return 0;
}

/* The same at any function by way of fentry: nothing is common, so nothing has to be handed on. But that most functions
 * need little is said to the compiler, too.
 */
int traced(struct arguments *ctx) { return trace(ctx, 0); }
int traced_light(struct arguments *ctx) { return trace(ctx, 1); }
#endif

int ip_light_0(struct pt_regs *ctx) { return pass(ctx, CLASS_LIGHT_IP, ctx->di); }
int ip_light_1(struct pt_regs *ctx) { return pass(ctx, CLASS_LIGHT_IP, ctx->si); }
int ip_light_2(struct pt_regs *ctx) { return pass(ctx, CLASS_LIGHT_IP, ctx->dx); }
int ip_light_3(struct pt_regs *ctx) { return pass(ctx, CLASS_LIGHT_IP, ctx->cx); }
int link_light_0(struct pt_regs *ctx) { return pass(ctx, CLASS_LIGHT_LINK, ctx->di); }
int link_light_1(struct pt_regs *ctx) { return pass(ctx, CLASS_LIGHT_LINK, ctx->si); }
int link_light_2(struct pt_regs *ctx) { return pass(ctx, CLASS_LIGHT_LINK, ctx->dx); }
int link_light_3(struct pt_regs *ctx) { return pass(ctx, CLASS_LIGHT_LINK, ctx->cx); }

/* Tracepoint skb:kfree_skb; where its fields are comes from tracefs. */
int drop(void *ctx)
{
    struct run run, *r = &run;
    u64 skb = 0, location = 0;
    u32 reason = 0;
    if (!begin_run(r) || BUSY(r->s, r->c))
        return 0;
    READ(&skb, sizeof(skb), ctx + KFREE_SKB_skbaddr);
    READ(&location, sizeof(location), ctx + KFREE_SKB_location);
#if KFREE_SKB_reason
    READ(&reason, sizeof(reason), ctx + KFREE_SKB_reason);
#endif
    if (find(r, skb, 0)) {
        r->facts = reason;
        step(r->p, r->hops, 0, (u32)location, 0, r, COPY(r->s));
    }
    DONE(r->s);
    return 0;
}
