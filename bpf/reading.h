/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What the programs of both modes share: reading kernel memory, and telling stacks apart.
 */

#define INLINE static inline __attribute__((always_inline))
#define READ(to, size, from) bpf_probe_read_kernel((to), (size), (void *)(from))

/* LOOK: one number from kernel memory, 0 where there is none. Where the kernel allows it (kpath/capture/direct.py), it
 * is a load instruction; else it is the helper, which costs ten times as much.
 */
#if DIRECT_TYPE
static void *(*const direct)(u64 address, u32 type) = (void *)DIRECT_CALL;
#define VIEW(address) ((u8 *)direct((u64)(address), DIRECT_TYPE)) /* to look at several numbers */
#define AT(type, view, offset) (*(type *)((view) + (offset)))
#define LOOK(type, address, offset) AT(type, VIEW(address), offset)
#else
#define LOOK(type, address, offset)                             \
    ({                                                          \
        type look_ = 0;                                         \
        READ(&look_, sizeof(look_), (u64)(address) + (offset)); \
        look_;                                                  \
    })
#endif

/* The elements of an array by their address, which the kernel writes into the program: no lookup. For it, the array is one
 * value (kpath/capture/bytecode.py); so an index must be bounded by a mask.
 */
#define ELEMENTS(kind, map)                                                                      \
    ({                                                                                           \
        kind *elements_ = (kind *)bpf_pseudo_fd(2 /* BPF_PSEUDO_MAP_VALUE */, ELEMENTS_OF_##map); \
        __builtin_assume(elements_ != 0);                                                        \
        elements_;                                                                               \
    })

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

#define USER_REGS 24 /* words at the top of a task's stack: struct pt_regs, and up to 3 of padding on some kernels */
#define FIRST_REG 16 /* of them di or orig_ax to sp at least, whatever the padding: what was called, from where, with what */
#define LAST_REG 22

/* The registers as a kprobe sees them (arch/x86/include/asm/ptrace.h: struct pt_regs, x86-64). */
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

#if FENTRY
/* A program at a function by way of fentry is loaded anew for each function. What differs between them is filled in
 * before (kpath/capture/fentry.py), so the verifier leaves out what a function does not need.
 */
static u64 (*const own_address)(void) = (void *)FENTRY_ADDRESS; /* of the function */
static u64 (*const own_low)(void) = (void *)FENTRY_LOW; /* the lower half of that */
static u64 (*const own_class)(void) = (void *)FENTRY_CLASS;
static u64 (*const own_distance)(void) = (void *)FENTRY_DISTANCE; /* from its arguments to its return address, bytes */
static u64 (*const own_jumped)(void) = (void *)FENTRY_JUMPED; /* the same where it jumps to the program; 0: it never does */
struct arguments {
    u8 before[FENTRY_RETURNED];
    u64 returned;
    u8 gap[FENTRY_SECOND - FENTRY_RETURNED - 8];
    u64 second;
    u8 gap_2[FENTRY_FIRST - FENTRY_SECOND - 8];
    u64 first;
};

/* A pointer that the verifier knows becomes a number that it does not. */
INLINE u64 as_number(u64 *by_way_of, u64 pointer)
{
    *(volatile u64 *)by_way_of = pointer;
    return *(volatile u64 *)by_way_of;
}

#define FENTRY_CALL 32 /* bytes from the beginning of a function within which it calls */

/* Where the return address of the function is, and (`caller`) its lower half; 0 if it cannot be told. Below it is the
 * address in the function to which the program returns. Whatever else is attached to the function, and runs at its return,
 * moves both by a word.
 */
INLINE u64 entry_sp(u64 *by_way_of, struct arguments *ctx, u32 *caller)
{
    u64 context = as_number(by_way_of, (u64)ctx), sp = context + own_distance(), ip = own_address();
#if DIRECT_TYPE /* at a distance that is in the instruction: almost always it is there */
    u8 *stack = VIEW(ctx);
    u32 there = AT(u32, stack, FENTRY_CALLER);
    asm volatile("" : "+r"(there)); /* or this read becomes one with the other below, at an address that varies */
    *caller = there;
    if (AT(u64, stack, FENTRY_INSIDE) - ip < FENTRY_CALL)
        return sp;
#endif
    if (!DIRECT_TYPE && LOOK(u64, sp - 8, 0) - ip < FENTRY_CALL) {
        /* there */
    } else if (LOOK(u64, sp, 0) - ip < FENTRY_CALL) {
        sp += 8;
    } else if (LOOK(u64, sp - 16, 0) - ip < FENTRY_CALL) {
        sp -= 8;
    } else {
        /* No such address: the function may have jumped, not called. Then the return address is in the kernel's text. */
        sp = context + own_jumped();
        if (sp == context || LOOK(u32, sp + 4, 0) != 0xffffffff)
            return 0;
    }
    *caller = LOOK(u32, sp, 0);
    return sp;
}

/* Unlike kprobes, an fentry program may be interrupted by another one on the same CPU. */
#define BUSY(s, c) ((s)->busy ? ((c) ? (c)->busy++ : 0), 1 : ((s)->busy = 1, 0))
#define DONE(s)                         \
    do {                                \
        asm volatile("" ::: "memory");  \
        (s)->busy = 0;                  \
    } while (0)
#else
#define BUSY(s, c) 0
#define DONE(s)
#endif

INLINE u16 swap16(u16 v)
{
    return __builtin_bswap16(v);
}

INLINE int is_trampoline(u64 address)
{
    return address == TRAMPOLINE_1 || address == TRAMPOLINE_2 || address == TRAMPOLINE_3;
}

#define RETURNS_AT_ONCE 16 /* probes that wait for one place's return: functions that jump to each other share it */

/* The return address of a function that has just been entered. Where a return probe was here before, its trampoline stands in
 * that place, and the address in a list of the task's (kernel/trace/rethook.c: rethook_hook): if there are several, in
 * the oldest of those for this place. function_graph keeps its addresses elsewhere: then it is the trampoline's.
 */
INLINE u64 caller_at(u64 sp)
{
    u64 caller = LOOK(u64, sp, 0);
#if TASK_STRUCT_rethooks
    if (is_trampoline(caller)) {
        u64 next = LOOK(u64, bpf_get_current_task(), TASK_STRUCT_rethooks);
        for (int i = 0; i < RETURNS_AT_ONCE; i++) {
            u64 node = next - RETHOOK_NODE_llist;
            if (!next || LOOK(u64, node, RETHOOK_NODE_frame) != sp)
                break;
            caller = LOOK(u64, node, RETHOOK_NODE_ret_addr);
            next = LOOK(u64, next, 0);
        }
    }
#endif
    return caller;
}

/* A digest of the registers with which userspace entered the kernel (a system call, an interrupt): they lie at the top
 * of the task's stack until it goes back. If they change, nothing that was seen on this stack before is still alive,
 * even if its slot has not been written to since. Interrupt stacks have none. `copy` holds
 * USER_REGS words, where reading goes by copies.
 */
INLINE u64 entry_from_user(u64 *copy, u64 stack)
{
    u64 digest = 1;
    u64 top = stack + THREAD_BYTES - USER_REGS * 8;
#if DIRECT_TYPE
    u8 *registers = VIEW(top);
#define USER_REG(i) AT(u64, registers, (i) * 8)
#else
    if (READ(copy, USER_REGS * 8, top))
        return digest;
#define USER_REG(i) copy[i]
#endif
#pragma unroll
    for (int i = FIRST_REG; i <= LAST_REG; i++)
        digest = (digest ^ USER_REG(i)) * 0x01000193; /* FNV's, and odd: a register that differs makes a difference */
    return digest;
}

/* Which stack a stack pointer is on: the task's own (its base), or this CPU's interrupt stack (the CPU's number). */
INLINE u64 stack_of(u64 sp, u32 cpu)
{
    u64 base = LOOK(u64, bpf_get_current_task(), TASK_STRUCT_stack);
    return sp - base < THREAD_BYTES ? base : cpu;
}

/* The bottom of this CPU's interrupt stack (arch/x86/kernel/irq_64.c: map_irq_stack; the pointer is to its end, or, since
 * 5.12, to the word before that). 0 where it is not known. Unlike a task's stack it need not lie at a multiple of its size.
 */
INLINE u64 interrupt_stack(u32 cpu)
{
#if IRQ_STACK_POINTER
    u64 own = LOOK(u64, PER_CPU_OFFSET + cpu * 8ULL, 0);
    return ((LOOK(u64, own + IRQ_STACK_POINTER, 0) + 8) & ~4095ULL) - THREAD_BYTES;
#else
    return 0;
#endif
}
