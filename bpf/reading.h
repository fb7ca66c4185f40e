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

INLINE u16 swap16(u16 v)
{
    return __builtin_bswap16(v);
}

INLINE int is_trampoline(u64 address)
{
    return address == TRAMPOLINE_1 || address == TRAMPOLINE_2 || address == TRAMPOLINE_3;
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
        digest = (digest << 5 | digest >> 59) ^ USER_REG(i);
    return digest;
}

/* Which stack a stack pointer is on: the task's own (its base), or this CPU's interrupt stack (the CPU's number). */
INLINE u64 stack_of(u64 sp, u32 cpu)
{
    u64 base = LOOK(u64, bpf_get_current_task(), TASK_STRUCT_stack);
    return sp - base < THREAD_BYTES ? base : cpu;
}
