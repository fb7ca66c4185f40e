/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The programs at the entry of functions: each tells enter() of the mode what it is about.
 */

int frame(struct pt_regs *ctx) { return enter(ctx, CLASS_FRAME, 0, 0); }
int inner(struct pt_regs *ctx) { return enter(ctx, CLASS_FRAME + CLASS_INNER, 0, 0); }
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
int ip_gate_0(struct pt_regs *ctx) { return enter(ctx, CLASS_IP + CLASS_GATE, ctx->di, 0); }
int ip_gate_1(struct pt_regs *ctx) { return enter(ctx, CLASS_IP + CLASS_GATE, ctx->si, 0); }
int ip_gate_2(struct pt_regs *ctx) { return enter(ctx, CLASS_IP + CLASS_GATE, ctx->dx, 0); }
int link_gate_0(struct pt_regs *ctx) { return enter(ctx, CLASS_LINK + CLASS_GATE, ctx->di, 0); }
int neighbour_1(struct pt_regs *ctx) { return enter(ctx, CLASS_NEIGHBOUR, ctx->si, ctx->di); }
int copy(struct pt_regs *ctx) { return enter(ctx, CLASS_COPY, ctx->di, ctx->si); }
int merge(struct pt_regs *ctx) { return enter(ctx, CLASS_MERGE, ctx->di, ctx->si); }
int release_0(struct pt_regs *ctx) { return enter(ctx, CLASS_RELEASE, ctx->di, 0); }
int release_1(struct pt_regs *ctx) { return enter(ctx, CLASS_RELEASE, ctx->si, 0); }
int end(struct pt_regs *ctx) { return enter(ctx, CLASS_END, ctx->di, 0); }
int hook(struct pt_regs *ctx) { return enter(ctx, CLASS_HOOK, ctx->di, ctx->si); }
