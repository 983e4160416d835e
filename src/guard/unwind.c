/* Walking the stack: see unwind.h. */
#include "guard/unwind.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>

#include "base/bits.h"
#include "guard/cfi.h"
#include "os/os.h"

/* No frame is larger, as far as we believe what we read. */
#define FRAME_BYTES_MAX (64 * MIB)

/* ---- Reading what may not be there ---- */

#if defined(__x86_64__)
__asm__(".text\n"
        ".hidden unwind_probe, unwind_probe_load, unwind_probe_failed\n"
        ".globl unwind_probe, unwind_probe_load, unwind_probe_failed\n"
        ".type unwind_probe, @function\n"
        "unwind_probe:\n"
        "	.cfi_startproc\n"
        "unwind_probe_load:\n"
        "	mov (%rdi), %rax\n"
        "	mov %rax, (%rsi)\n"
        "	mov $1, %eax\n"
        "	ret\n"
        "unwind_probe_failed:\n"
        "	xor %eax, %eax\n"
        "	ret\n"
        "	.cfi_endproc\n"
        ".size unwind_probe, . - unwind_probe\n");
#define HAVE_PROBE 1
#elif defined(__aarch64__)
__asm__(".text\n"
        ".hidden unwind_probe, unwind_probe_load, unwind_probe_failed\n"
        ".globl unwind_probe, unwind_probe_load, unwind_probe_failed\n"
        ".type unwind_probe, %function\n"
        "unwind_probe:\n"
        "	.cfi_startproc\n"
        "unwind_probe_load:\n"
        "	ldr x2, [x0]\n"
        "	str x2, [x1]\n"
        "	mov w0, #1\n"
        "	ret\n"
        "unwind_probe_failed:\n"
        "	mov w0, #0\n"
        "	ret\n"
        "	.cfi_endproc\n"
        ".size unwind_probe, . - unwind_probe\n");
#define HAVE_PROBE 1
#else
#define HAVE_PROBE 0
#endif

#if HAVE_PROBE
HIDDEN extern bool unwind_probe(uintptr_t address, uintptr_t *word);
HIDDEN extern const char unwind_probe_load[], unwind_probe_failed[];

bool unwind_read(uintptr_t address, uintptr_t *word)
{
	return unwind_probe(address, word);
}

uintptr_t unwind_repair(uintptr_t pc)
{
	return pc == (uintptr_t)unwind_probe_load ? (uintptr_t)unwind_probe_failed : 0;
}
#else
bool unwind_read(uintptr_t address, uintptr_t *word)
{
	*word = *(const volatile uintptr_t *)address;
	return true;
}

uintptr_t unwind_repair(uintptr_t pc UNUSED)
{
	return 0;
}
#endif

/* ---- Rules: what the tables say of one return address, if it is of the usual kind, in 31 bits ---- */

enum rule_kind {
	RULE_NONE,              /* not remembered */
	RULE_USUAL,
	RULE_BY_POINTER,        /* no table: the frame pointer, if it is sound */
	RULE_END,
};

/* Offsets count words. */
struct rule {
	enum rule_kind kind;
	bool from_frame;        /* the frame's end is an offset from the frame pointer, not from the stack pointer */
	uint32_t offset;        /* 16 bits */
	uint32_t frame_below;   /* the caller's frame pointer is saved so far below the frame's end; 0: not saved. 6 bits */
	uint32_t back_below;    /* the same of the return address. 6 bits */
};

enum { OFFSET_BITS = 16, BELOW_BITS = 6, RULE_BITS = 2 + 1 + OFFSET_BITS + 2 * BELOW_BITS };
enum { CACHE_BITS = 15, ADDRESS_BITS = 48, TAG_BITS = ADDRESS_BITS - CACHE_BITS };

_Static_assert(RULE_BITS + TAG_BITS <= 64, "a rule and its address fit a word");
_Static_assert(((size_t)8 << CACHE_BITS) == UNWIND_CACHE_BYTES, "the cache has its size");

static uint64_t rule_pack(struct rule rule)
{
	uint64_t bits = rule.back_below;

	bits = bits << BELOW_BITS | rule.frame_below;
	bits = bits << OFFSET_BITS | rule.offset;
	bits = bits << 1 | rule.from_frame;
	return bits << 2 | rule.kind;
}

static struct rule rule_unpack(uint64_t bits)
{
	return (struct rule){
		.kind = (enum rule_kind)(bits & 3),
		.from_frame = bits >> 2 & 1,
		.offset = bits >> 3 & ((1u << OFFSET_BITS) - 1),
		.frame_below = bits >> (3 + OFFSET_BITS) & ((1u << BELOW_BITS) - 1),
		.back_below = bits >> (3 + OFFSET_BITS + BELOW_BITS) & ((1u << BELOW_BITS) - 1),
	};
}

/* One word each: [tag | rule], relaxed, because a word says all there is. NULL at first. */
static _Atomic uint64_t *_Atomic cache;

void unwind_use_cache(void *memory)
{
	atomic_store_explicit(&cache, (_Atomic uint64_t *)memory, memory_order_release);
}

/* Multiplication by an odd number mixes 48 bits into 48 bits and loses none: the upper 15 say which word, the rest is
 * the tag. */
static uint64_t address_mix(uintptr_t pc)
{
	return pc * 0x9e3779b97f4a7c15u & (((uint64_t)1 << ADDRESS_BITS) - 1);
}

static struct rule rule_recall(uintptr_t pc)
{
	_Atomic uint64_t *words = atomic_load_explicit(&cache, memory_order_acquire);
	uint64_t mixed = address_mix(pc);

	if (words == NULL || pc >> ADDRESS_BITS != 0)
		return (struct rule){ .kind = RULE_NONE };
	uint64_t word = atomic_load_explicit(&words[mixed >> TAG_BITS], memory_order_relaxed);
	if (word >> RULE_BITS != (mixed & (((uint64_t)1 << TAG_BITS) - 1)))
		return (struct rule){ .kind = RULE_NONE };
	return rule_unpack(word);
}

static void rule_remember(uintptr_t pc, struct rule rule)
{
	_Atomic uint64_t *words = atomic_load_explicit(&cache, memory_order_acquire);
	uint64_t mixed = address_mix(pc);

	if (words == NULL || pc >> ADDRESS_BITS != 0)
		return;
	uint64_t tag = mixed & (((uint64_t)1 << TAG_BITS) - 1);
	atomic_store_explicit(&words[mixed >> TAG_BITS], tag << RULE_BITS | rule_pack(rule), memory_order_relaxed);
}

/* ---- Objects that rules came from: if another stands where one was, all rules are forgotten ---- */

#define OBJECTS_MAX 256

/* Races leave a stale entry at worst, which forgets the rules once too often. */
struct seen {
	_Atomic uintptr_t start;
	_Atomic uintptr_t end;
	_Atomic uintptr_t mark;
};
static struct seen seen[OBJECTS_MAX];
static _Atomic size_t seen_count;

static void rules_forget(void)
{
	_Atomic uint64_t *words = atomic_load_explicit(&cache, memory_order_acquire);

	for (size_t i = 0; words != NULL && i < (size_t)1 << CACHE_BITS; i++)
		atomic_store_explicit(&words[i], 0, memory_order_relaxed);
}

static void object_enter(struct seen *entry, const struct os_object *object, uintptr_t mark)
{
	atomic_store_explicit(&entry->mark, mark, memory_order_relaxed);
	atomic_store_explicit(&entry->end, object->end, memory_order_relaxed);
	atomic_store_explicit(&entry->start, object->start, memory_order_relaxed);
}

/* Called when an address is met that isn't known yet. A library that was closed, and another one opened in its place,
 * shows here at the first of the new one's addresses that is new. Objects beyond so many are not watched. */
static void object_note(const struct os_object *object)
{
	uintptr_t mark = (uintptr_t)object->unwind_table ^ (uintptr_t)object->dynamic << 1 ^ object->bias << 2;
	size_t count = min_size(atomic_load_explicit(&seen_count, memory_order_acquire), OBJECTS_MAX);

	for (size_t i = 0; i < count; i++) {
		struct seen *entry = &seen[i];
		uintptr_t start = atomic_load_explicit(&entry->start, memory_order_relaxed);
		uintptr_t end = atomic_load_explicit(&entry->end, memory_order_relaxed);

		if (object->start >= end || start >= object->end)
			continue;
		if (start == object->start && end == object->end &&
		    atomic_load_explicit(&entry->mark, memory_order_relaxed) == mark)
			return;
		rules_forget();
		object_enter(entry, object, mark);
		return;
	}
	size_t index = atomic_fetch_add_explicit(&seen_count, 1, memory_order_acq_rel);
	if (index < OBJECTS_MAX)
		object_enter(&seen[index], object, mark);
	else
		atomic_store_explicit(&seen_count, OBJECTS_MAX, memory_order_relaxed);
}

/* ---- Steps ---- */

static bool frame_end_is_sound(const struct unwind *unwind, uintptr_t frame_end)
{
	return frame_end > unwind->stack && frame_end - unwind->stack <= FRAME_BYTES_MAX && frame_end <= unwind->end &&
	       IS_ALIGNED(frame_end, sizeof(uintptr_t));
}

/* Without the signature that pointer authentication puts into the upper bits. How many those are depends on how long the
 * kernel's addresses are: the processor knows. It does nothing where it has no such signatures (xpaclri). */
static uintptr_t return_address(uintptr_t word)
{
#if defined(__aarch64__)
	register uintptr_t link __asm__("x30") = word;

	__asm__("hint #7" : "+r"(link));
	return link;
#else
	return word;
#endif
}

static bool arrive(struct unwind *unwind, uintptr_t frame_end, uintptr_t frame, uintptr_t back)
{
	unwind->stack = frame_end;
	unwind->frame = frame;
	unwind->pc = return_address(back);
	unwind->back = 0;
	unwind->registers = NULL;
	unwind->exact = false;
	return unwind->pc != 0;
}

static bool rule_follow(struct unwind *unwind, struct rule rule)
{
	uintptr_t frame_end = (rule.from_frame ? unwind->frame : unwind->stack) + rule.offset * sizeof(uintptr_t);
	uintptr_t frame = unwind->frame;
	uintptr_t back = unwind->back;

	/* An innermost function of ARM's may have no frame at all. */
	if (!(frame_end == unwind->stack && rule.back_below == 0 && back != 0) && !frame_end_is_sound(unwind, frame_end))
		return false;
	if (rule.frame_below != 0 && !unwind_read(frame_end - rule.frame_below * sizeof(uintptr_t), &frame))
		return false;
	if (rule.back_below != 0 && !unwind_read(frame_end - rule.back_below * sizeof(uintptr_t), &back))
		return false;
	return arrive(unwind, frame_end, frame, back);
}

static bool pointer_is_sound(const struct unwind *unwind, uintptr_t record)
{
	return record >= unwind->stack && IS_ALIGNED(record, sizeof(uintptr_t)) &&
	       frame_end_is_sound(unwind, record + 2 * sizeof(uintptr_t));
}

/* By the frame pointer alone. Sound: it points into this stack, above where we are, and leads to code of an object or to
 * another pointer of the kind. */
static bool pointer_follow(struct unwind *unwind)
{
	uintptr_t next = 0;
	uintptr_t back = 0;
	uintptr_t record = unwind->frame;
	struct os_object object;

	if (!pointer_is_sound(unwind, record) || !unwind_read(record, &next) ||
	    !unwind_read(record + sizeof(uintptr_t), &back))
		return false;
	if ((next <= record || !pointer_is_sound(unwind, next)) &&
	    !os_object_of((const void *)return_address(back), &object))
		return false;
	return arrive(unwind, record + 2 * sizeof(uintptr_t), next, back);
}

/* How many words below the frame's end, if that fits a rule. */
static bool below_of(const struct cfi_place *place, uint32_t *below)
{
	if (place->where == CFI_SAME) {
		*below = 0;
		return true;
	}
	int64_t words = -place->offset / (int64_t)sizeof(uintptr_t);
	if (place->where != CFI_SAVED || place->offset % (int64_t)sizeof(uintptr_t) != 0 || words <= 0 ||
	    words >= 1 << BELOW_BITS)
		return false;
	*below = (uint32_t)words;
	return true;
}

static struct rule rule_of(const struct cfi_frame *frame)
{
	struct rule rule = { .kind = RULE_USUAL, .from_frame = frame->cfa_register == CFI_REGISTER_FRAME };
	int64_t words = frame->cfa_offset / (int64_t)sizeof(uintptr_t);

	if (frame->back.where == CFI_UNDEFINED)
		return (struct rule){ .kind = RULE_END };
	if (frame->signal || frame->cfa_expression != NULL || frame->cfa_offset % (int64_t)sizeof(uintptr_t) != 0 ||
	    (!rule.from_frame && frame->cfa_register != CFI_REGISTER_STACK) || words < 0 || words >= 1 << OFFSET_BITS ||
	    !below_of(&frame->frame, &rule.frame_below) || !below_of(&frame->back, &rule.back_below))
		return (struct rule){ .kind = RULE_NONE };
	rule.offset = (uint32_t)words;
	return rule;
}

static bool place_read(const struct cfi_place *place, uintptr_t frame_end, const uintptr_t *registers, uint64_t known,
                       uintptr_t before, uintptr_t *value)
{
	uintptr_t address = frame_end + (uintptr_t)place->offset;

	*value = before;
	if (place->where == CFI_SAME)
		return true;
	if (place->where == CFI_COMPUTED &&
	    !cfi_evaluate(place->expression, place->expression + KIB, registers, known, &frame_end, unwind_read, &address))
		return false;
	return (place->where == CFI_SAVED || place->where == CFI_COMPUTED) && unwind_read(address, value);
}

/* What the tables say, however they say it. */
static bool tables_follow(struct unwind *unwind, const struct cfi_frame *frame)
{
	uintptr_t own[CFI_REGISTER_COUNT] = { 0 };
	const uintptr_t *registers = unwind->registers != NULL ? unwind->registers : own;
	uint64_t known = unwind->registers != NULL ? UINT64_MAX :
		(uint64_t)1 << CFI_REGISTER_FRAME | (uint64_t)1 << CFI_REGISTER_STACK | (uint64_t)1 << CFI_REGISTER_RETURN;
	uintptr_t frame_end, caller, back;

	own[CFI_REGISTER_FRAME] = unwind->frame;
	own[CFI_REGISTER_STACK] = unwind->stack;
	own[CFI_REGISTER_RETURN] = CFI_REGISTER_RETURN == CFI_REGISTER_COUNT - 1 ? unwind->pc : unwind->back;
	if (frame->cfa_expression != NULL) {
		if (!cfi_evaluate(frame->cfa_expression, frame->cfa_expression + KIB, registers, known, NULL, unwind_read,
		                  &frame_end))
			return false;
	} else {
		if (frame->cfa_register >= CFI_REGISTER_COUNT || (known >> frame->cfa_register & 1) == 0)
			return false;
		frame_end = registers[frame->cfa_register] + (uintptr_t)frame->cfa_offset;
	}
	bool no_frame = unwind->exact && frame_end == unwind->stack;
	if ((!no_frame && !frame_end_is_sound(unwind, frame_end)) ||
	    !place_read(&frame->back, frame_end, registers, known, unwind->back, &back))
		return false;
	/* A frame pointer that can't be told is lost; the walk goes on by stack pointers as far as it can. */
	if (!place_read(&frame->frame, frame_end, registers, known, unwind->frame, &caller))
		caller = 0;
	return arrive(unwind, frame_end, caller, back);
}

/* ---- Frames that the kernel has made for a signal ---- */

#if defined(__x86_64__)

/* mov $15, %rax; syscall: rt_sigreturn. Debuggers know it by these bytes too. */
static const unsigned char trampoline[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };
#define CONTEXT_OFFSET 0

static void context_read(const ucontext_t *context, uintptr_t *registers)
{
	static const unsigned char numbers[CFI_REGISTER_COUNT] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
		                                                   REG_RBP, REG_RSP, REG_R8, REG_R9, REG_R10, REG_R11,
		                                                   REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP };

	for (size_t i = 0; i < CFI_REGISTER_COUNT; i++)
		registers[i] = (uintptr_t)context->uc_mcontext.gregs[numbers[i]];
}

static uintptr_t context_pc(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

#elif defined(__aarch64__)

/* mov x8, #139; svc #0 */
static const unsigned char trampoline[] = { 0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4 };
#define CONTEXT_OFFSET sizeof(siginfo_t)

static void context_read(const ucontext_t *context, uintptr_t *registers)
{
	for (size_t i = 0; i < 31; i++)
		registers[i] = context->uc_mcontext.regs[i];
	registers[CFI_REGISTER_STACK] = context->uc_mcontext.sp;
}

static uintptr_t context_pc(const ucontext_t *context)
{
	return context->uc_mcontext.pc;
}

#else

static const unsigned char trampoline[] = { 0 };
#define CONTEXT_OFFSET 0
static void context_read(const ucontext_t *context UNUSED, uintptr_t *registers UNUSED) {}
static uintptr_t context_pc(const ucontext_t *context UNUSED) { return 0; }

#endif

static bool is_trampoline(uintptr_t pc)
{
	uintptr_t words[2];

	return sizeof(trampoline) > 1 && unwind_read(pc, &words[0]) && unwind_read(pc + sizeof(words[0]), &words[1]) &&
	       memcmp(words, trampoline, sizeof(trampoline)) == 0;
}

static bool signal_follow(struct unwind *unwind)
{
	const ucontext_t *context = (const ucontext_t *)(unwind->stack + CONTEXT_OFFSET);
	uintptr_t registers[CFI_REGISTER_COUNT] = { 0 };
	uintptr_t word;

	if (!unwind_read((uintptr_t)context, &word) || !unwind_read((uintptr_t)&context->uc_sigmask, &word))
		return false;
	context_read(context, registers);
	/* From an alternate stack back to the thread's own. */
	uintptr_t end = os_stack_end(registers[CFI_REGISTER_STACK]);
	unwind->pc = context_pc(context);
	unwind->stack = registers[CFI_REGISTER_STACK];
	unwind->frame = registers[CFI_REGISTER_FRAME];
	unwind->back = CFI_REGISTER_RETURN < CFI_REGISTER_COUNT - 1 ? registers[CFI_REGISTER_RETURN] : 0;
	unwind->end = end != 0 ? end : UINTPTR_MAX;
	unwind->registers = NULL;
	unwind->exact = true;
	return unwind->pc != 0;
}

/* ---- unwind.h ---- */

/* A call of what is no code: nothing has happened since. */
static bool jump_follow(struct unwind *unwind)
{
	struct os_object object;
	uintptr_t back = unwind->back;
	uintptr_t stack = unwind->stack;

#if defined(__x86_64__)
	if (!frame_end_is_sound(unwind, stack + sizeof(back)) || !unwind_read(stack, &back))
		return false;
	stack += sizeof(back);
#endif
	return os_object_of((const void *)return_address(back), &object) && arrive(unwind, stack, unwind->frame, back);
}

static bool step_anew(struct unwind *unwind)
{
	struct os_object object;
	struct cfi_frame frame;
	/* A call may be the last instruction of its function: what holds is what held at the call. */
	uintptr_t pc = unwind->pc - !unwind->exact;

	if (!os_object_of((const void *)pc, &object)) {
		if (unwind->exact && jump_follow(unwind))
			return true;
		rule_remember(unwind->pc, (struct rule){ .kind = RULE_BY_POINTER });
		return pointer_follow(unwind);
	}
	if (is_trampoline(unwind->pc))
		return signal_follow(unwind);
	object_note(&object);
	if (!cfi_find(&object, pc, &frame)) {
		/* An interrupted function of assembler may not have begun its frame. */
		if (!unwind->exact)
			rule_remember(unwind->pc, (struct rule){ .kind = RULE_BY_POINTER });
		return pointer_follow(unwind);
	}
	struct rule rule = rule_of(&frame);
	if (!unwind->exact)
		rule_remember(unwind->pc, rule);
	return rule.kind != RULE_END && tables_follow(unwind, &frame);
}

bool unwind_step(struct unwind *unwind)
{
	struct rule rule = { .kind = RULE_NONE };

	if (!unwind->exact)
		rule = rule_recall(unwind->pc);
	switch (rule.kind) {
	case RULE_USUAL:
		return rule_follow(unwind, rule);
	case RULE_BY_POINTER:
		return pointer_follow(unwind);
	case RULE_END:
		return false;
	case RULE_NONE:
		break;
	}
	return step_anew(unwind);
}

static uintptr_t end_from(uintptr_t stack)
{
	uintptr_t end = os_stack_end(stack);

	return end != 0 ? end : UINTPTR_MAX;
}

#if defined(__x86_64__)
struct unwind unwind_from_frame(const void *frame)
{
	const uintptr_t *record = frame;
	uintptr_t stack = (uintptr_t)frame + 2 * sizeof(uintptr_t);

	return (struct unwind){ .pc = record[1], .stack = stack, .frame = record[0], .end = end_from(stack) };
}
#elif defined(__aarch64__)
/* The frame record doesn't tell the caller's stack pointer: from here up to it. All that a step wants is read by
 * instructions of one place, behind which pc is: what the tables say of it holds for what was read. A label's address would
 * not do, compilers move it. */
NOINLINE struct unwind unwind_from_frame(const void *frame)
{
	struct unwind unwind = { 0 };

	__asm__ volatile("adr %0, 1f\n\t"
	                 "mov %1, x29\n\t"
	                 "mov %2, x30\n\t"
	                 "mov %3, sp\n"
	                 "1:"
	                 : "=&r"(unwind.pc), "=&r"(unwind.frame), "=&r"(unwind.back), "=&r"(unwind.stack));
	unwind.end = end_from(unwind.stack);
	while (unwind.stack <= (uintptr_t)frame && unwind_step(&unwind))
		;
	if (unwind.stack <= (uintptr_t)frame)
		unwind.pc = 0;
	return unwind;
}
#else
/* Stacks are not known. */
struct unwind unwind_from_frame(const void *frame UNUSED)
{
	return (struct unwind){ 0 };
}
#endif

struct unwind unwind_from_context(const void *ucontext, uintptr_t *registers)
{
	const ucontext_t *context = ucontext;

	context_read(context, registers);
	return (struct unwind){
		.pc = context_pc(context),
		.stack = registers[CFI_REGISTER_STACK],
		.frame = registers[CFI_REGISTER_FRAME],
		.back = CFI_REGISTER_RETURN < CFI_REGISTER_COUNT - 1 ? registers[CFI_REGISTER_RETURN] : 0,
		.end = end_from(registers[CFI_REGISTER_STACK]),
		.registers = registers,
		.exact = true,
	};
}
