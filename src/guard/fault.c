/* The handler of SIGSEGV and SIGBUS: see fault.h. */
#include "guard/fault.h"

#include <signal.h>
#include <ucontext.h>

#include "base/bits.h"
#include "guard/instruction.h"
#include "guard/report.h"
#include "guard/unwind.h"
#include "os/os.h"

/* For the report's own frames and what the kernel saves (up to 11 KiB with AMX): guarded stacks may be used up. */
#define STACK_BYTES (64 * KIB)

static struct fault_source source;

/* Who was there before: immutable after fault_install, but that SA_RESETHAND takes one away. */
static struct sigaction before[2];

static struct sigaction *before_of(int number)
{
	return &before[number == SIGBUS];
}

/* ---- What the processor says ---- */

#if defined(__x86_64__)

/* Bits of a page fault's error code (AMD64 manual, volume 2, section 8.4.2). */
enum { TRAP_PAGE_FAULT = 14, ERROR_WRITE = 2, ERROR_FETCH = 16 };

static enum report_access access_of(const ucontext_t *context)
{
	uint64_t error = (uint64_t)context->uc_mcontext.gregs[REG_ERR];

	if (context->uc_mcontext.gregs[REG_TRAPNO] != TRAP_PAGE_FAULT)
		return REPORT_ACCESS_UNKNOWN;
	if ((error & ERROR_FETCH) != 0)
		return REPORT_EXECUTE;
	return (error & ERROR_WRITE) != 0 ? REPORT_WRITE : REPORT_READ;
}

static uintptr_t *context_pc(ucontext_t *context)
{
	return (uintptr_t *)&context->uc_mcontext.gregs[REG_RIP];
}

#elif defined(__aarch64__)

/* Records behind the registers, each with a head (the kernel's asm/sigcontext.h); one is the syndrome register. */
struct record_head {
	uint32_t magic;
	uint32_t bytes;
};
enum { SYNDROME_MAGIC = 0x45535201, CLASS_SHIFT = 26, CLASS_FETCH = 0x20, CLASS_DATA = 0x24, SYNDROME_WRITE = 1 << 6 };

static uint64_t syndrome_of(const ucontext_t *context)
{
	const char *at = (const char *)context->uc_mcontext.__reserved;
	const char *end = at + sizeof(context->uc_mcontext.__reserved);

	while (at + sizeof(struct record_head) + sizeof(uint64_t) <= end) {
		const struct record_head *head = (const struct record_head *)(const void *)at;
		if (head->magic == SYNDROME_MAGIC)
			return *(const uint64_t *)(const void *)(at + sizeof(*head));
		if (head->magic == 0 || head->bytes < sizeof(*head))
			break;
		at += head->bytes;
	}
	return 0;
}

/* There may be no such record (emulators). */
static enum report_access access_by_instruction(uintptr_t pc, uintptr_t address)
{
	if (pc == address)
		return REPORT_EXECUTE;
	switch (instruction_writes(pc)) {
	case 1:
		return REPORT_WRITE;
	case 0:
		return REPORT_READ;
	default:
		return REPORT_ACCESS_UNKNOWN;
	}
}

static enum report_access access_of(const ucontext_t *context)
{
	uint64_t syndrome = syndrome_of(context);

	switch (syndrome >> CLASS_SHIFT & 0x3f) {
	case CLASS_FETCH:
		return REPORT_EXECUTE;
	case CLASS_DATA:
		return (syndrome & SYNDROME_WRITE) != 0 ? REPORT_WRITE : REPORT_READ;
	default:
		return access_by_instruction(context->uc_mcontext.pc, context->uc_mcontext.fault_address);
	}
}

static uintptr_t *context_pc(ucontext_t *context)
{
	return (uintptr_t *)&context->uc_mcontext.pc;
}

#else

static enum report_access access_of(const ucontext_t *context UNUSED) { return REPORT_ACCESS_UNKNOWN; }
static uintptr_t *context_pc(ucontext_t *context UNUSED) { return NULL; }

#endif

/* ---- Those who were there before ---- */

/* As if the kernel had called it: with the signals blocked that it asked for. What it returns to has its own mask. */
static void handler_call(int number, siginfo_t *information, void *context)
{
	struct sigaction *action = before_of(number);
	struct sigaction called = *action;

	os_signals_block(&called.sa_mask, (called.sa_flags & SA_NODEFER) == 0 ? number : 0);
	if ((called.sa_flags & SA_RESETHAND) != 0)
		*action = (struct sigaction){ .sa_handler = SIG_DFL };
	if ((called.sa_flags & SA_SIGINFO) != 0)
		called.sa_sigaction(number, information, context);
	else
		called.sa_handler(number);
}

/* The fault comes again when this returns, and ends the process as if we had not been there: with a core whose stack is
 * the program's. What somebody sent (kill) doesn't come again by itself. */
static void pass_on(int number, siginfo_t *information, void *context)
{
	struct sigaction *action = before_of(number);
	bool sent = information->si_code <= 0;

	if ((action->sa_flags & SA_SIGINFO) != 0 || (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN)) {
		handler_call(number, information, context);
		return;
	}
	if (sent && action->sa_handler == SIG_IGN)
		return;
	os_signal_default(number);
	if (sent)
		os_signal_raise(number);
}

/* ---- Ours ---- */

static bool is_ours(const siginfo_t *information)
{
	/* Guard markers fault as SEGV_MAPERR, protected pages as SEGV_ACCERR. */
	return information->si_signo == SIGSEGV &&
	       (information->si_code == SEGV_MAPERR || information->si_code == SEGV_ACCERR) && source.owns != NULL &&
	       source.owns(information->si_addr);
}

static void on_fault(int number, siginfo_t *information, void *context)
{
	uintptr_t *pc = context_pc(context);
	uintptr_t mended = pc != NULL ? unwind_repair(*pc) : 0;

	if (mended != 0) {
		*pc = mended;
		return;
	}
	if (!is_ours(information)) {
		pass_on(number, information, context);
		return;
	}
	struct guarded block;
	enum report_access access = access_of(context);
	bool known = source.find(information->si_addr, &block);
	report(&(struct report){
		.kind = REPORT_ACCESS,
		.pointer = information->si_addr,
		.block = known ? &block : NULL,
		.access = access,
		.access_bytes = access != REPORT_EXECUTE && pc != NULL ? instruction_access_bytes(*pc) : 0,
		.context = context,
	});
	if (!report_goes_on() || source.open == NULL || !source.open(information->si_addr))
		pass_on(number, information, context);
}

bool fault_install(const struct fault_source *blocks)
{
	static const int numbers[] = { SIGSEGV, SIGBUS };
	size_t bytes = ROUND_UP(STACK_BYTES, os_page_bytes());
	void *stack = os_reserve(bytes);

	source = *blocks;
	if (stack != NULL && os_commit(stack, bytes) == 0)
		os_signal_stack(stack, bytes);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		/* Not deferred: a fault while the stack is walked comes on top of this one. */
		struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
		if (os_signal_action(numbers[i], &action, before_of(numbers[i])) != 0)
			return false;
	}
	return true;
}
