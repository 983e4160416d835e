/* Reads .eh_frame: see cfi.h. The format is that of DWARF's call frame information with the changes that the Linux
 * Standard Base describes (section "Exception Frames"). */
#include "guard/cfi.h"

#include <string.h>

/* Bytes of an object. What lies behind the end reads as 0 and sets `bad`. */
struct cursor {
	const uint8_t *at;
	const uint8_t *end;
	bool bad;
};

static uint64_t fixed_read(struct cursor *cursor, size_t bytes)
{
	uint64_t value = 0;

	if ((size_t)(cursor->end - cursor->at) < bytes) {
		cursor->at = cursor->end;
		cursor->bad = true;
		return 0;
	}
	memcpy(&value, cursor->at, bytes);
	cursor->at += bytes;
	return value;
}

/* Seven bits to a byte, the lowest first; the rest of the last one's bits are its sign's, if there is one. */
static uint64_t variable_read(struct cursor *cursor, bool is_signed)
{
	uint64_t value = 0;
	uint64_t byte;
	unsigned shift = 0;

	do {
		byte = fixed_read(cursor, 1);
		value |= shift < 64 ? (byte & 0x7f) << shift : 0;
		shift += 7;
	} while ((byte & 0x80) != 0);
	if (is_signed && (byte & 0x40) != 0 && shift < 64)
		value |= ~(uint64_t)0 << shift;
	return value;
}

static uint64_t unsigned_read(struct cursor *cursor)
{
	return variable_read(cursor, false);
}

static int64_t signed_read(struct cursor *cursor)
{
	return (int64_t)variable_read(cursor, true);
}

/* How a pointer is written. */
enum { FORM_MASK = 0x0f, RELATIVE_MASK = 0x70, RELATIVE_PLACE = 0x10, RELATIVE_TABLE = 0x30, OMITTED = 0xff };

static uint64_t form_read(struct cursor *cursor, unsigned encoding)
{
	switch (encoding & FORM_MASK) {
	case 0x00:
	case 0x04:
	case 0x0c:
		return fixed_read(cursor, 8);
	case 0x01:
		return unsigned_read(cursor);
	case 0x02:
		return fixed_read(cursor, 2);
	case 0x03:
		return fixed_read(cursor, 4);
	case 0x09:
		return (uint64_t)signed_read(cursor);
	case 0x0a:
		return (uint64_t)(int16_t)fixed_read(cursor, 2);
	case 0x0b:
		return (uint64_t)(int32_t)fixed_read(cursor, 4);
	default:
		cursor->bad = true;
		return 0;
	}
}

static uintptr_t pointer_read(struct cursor *cursor, unsigned encoding, uintptr_t table)
{
	uintptr_t place = (uintptr_t)cursor->at;
	uintptr_t value = form_read(cursor, encoding);

	switch (encoding & RELATIVE_MASK) {
	case 0:
		return value;
	case RELATIVE_PLACE:
		return value + place;
	case RELATIVE_TABLE:
		return value + table;
	default:
		cursor->bad = true;
		return 0;
	}
}

/* ---- The table of functions: sorted pairs of (first instruction, description), relative to the table ---- */

/* Aligned as its producer liked. */
struct function {
	int32_t start;
	int32_t description;
} __attribute__((packed));

enum { TABLE_VERSION = 1, TABLE_SORTED = 0x3b };

static struct cursor cursor_at(const struct os_object *object, const void *at)
{
	bool inside = (uintptr_t)at >= object->start && (uintptr_t)at < object->end;

	return (struct cursor){ at, inside ? (const uint8_t *)object->end : at, !inside };
}

static const void *description_find(const struct os_object *object, uintptr_t address)
{
	struct cursor cursor = cursor_at(object, object->unwind_table);
	uintptr_t table = (uintptr_t)object->unwind_table;
	uint64_t version = fixed_read(&cursor, 1);
	unsigned start_encoding = (unsigned)fixed_read(&cursor, 1);
	unsigned count_encoding = (unsigned)fixed_read(&cursor, 1);

	if (version != TABLE_VERSION || fixed_read(&cursor, 1) != TABLE_SORTED || count_encoding == OMITTED)
		return NULL;
	pointer_read(&cursor, start_encoding, table);
	size_t count = pointer_read(&cursor, count_encoding, table);
	if (cursor.bad || count > (size_t)(cursor.end - cursor.at) / sizeof(struct function))
		return NULL;

	const struct function *functions = (const struct function *)(const void *)cursor.at;
	int64_t wanted = (int64_t)(address - table);
	size_t low = 0;
	while (count > 0) {
		size_t half = count / 2;
		if (functions[low + half].start <= wanted) {
			low += half + 1;
			count -= half + 1;
		} else {
			count = half;
		}
	}
	return low > 0 ? (const void *)(table + (uintptr_t)(intptr_t)functions[low - 1].description) : NULL;
}

/* ---- A function's description and what it has in common with others ---- */

struct common {
	uint64_t code_unit;
	int64_t data_unit;
	uint64_t return_register;
	unsigned encoding;              /* of the description's addresses */
	bool augmented;
	bool signal;
	struct cursor program;
};

/* The contents of an entry, without its length; what is longer than 32 bits is not read. */
static struct cursor entry_open(const struct os_object *object, const void *at)
{
	struct cursor cursor = cursor_at(object, at);
	uint64_t length = fixed_read(&cursor, 4);

	if (length == 0 || length >= 0xfffffff0 || length > (uint64_t)(cursor.end - cursor.at))
		cursor.bad = true;
	else
		cursor.end = cursor.at + length;
	return cursor;
}

static void augmentation_read(struct cursor *cursor, const char *letters, struct common *common)
{
	uint64_t bytes = unsigned_read(cursor);
	const uint8_t *end = cursor->at + (bytes < (uint64_t)(cursor->end - cursor->at) ? bytes : 0);

	for (; *letters != 0 && !cursor->bad; letters++) {
		unsigned encoding;

		switch (*letters) {
		case 'R':
			common->encoding = (unsigned)fixed_read(cursor, 1);
			break;
		case 'P':
			encoding = (unsigned)fixed_read(cursor, 1);
			form_read(cursor, encoding);
			break;
		case 'L':
			fixed_read(cursor, 1);
			break;
		case 'S':
			common->signal = true;
			break;
		default:
			break;
		}
	}
	cursor->at = end;
}

static bool common_read(const struct os_object *object, const void *at, struct common *common)
{
	struct cursor cursor = entry_open(object, at);
	uint64_t id = fixed_read(&cursor, 4);
	uint64_t version = fixed_read(&cursor, 1);
	const char *letters = (const char *)cursor.at;

	*common = (struct common){ 0 };
	while (fixed_read(&cursor, 1) != 0)
		;
	if (cursor.bad || id != 0 || (version != 1 && version != 3))
		return false;
	common->code_unit = unsigned_read(&cursor);
	common->data_unit = signed_read(&cursor);
	common->return_register = version == 1 ? fixed_read(&cursor, 1) : unsigned_read(&cursor);
	common->augmented = letters[0] == 'z';
	if (common->augmented)
		augmentation_read(&cursor, letters + 1, common);
	else if (letters[0] != 0)
		return false;
	common->program = cursor;
	return !cursor.bad;
}

/* ---- The little program that says how the frame changes from instruction to instruction ---- */

/* gcc and clang nest at most one deep. */
#define REMEMBERED_MAX 8

struct machine {
	const struct common *common;
	struct cfi_frame now;
	struct cfi_frame initial;
	struct cfi_frame remembered[REMEMBERED_MAX];
	unsigned remembered_count;
	uintptr_t location;
	uintptr_t wanted;
	uintptr_t table;
};

/* The place of a register that matters; a scratch one for others. */
static struct cfi_place *place_of_register(struct cfi_frame *frame, const struct common *common, uint64_t number,
                                           struct cfi_place *scratch)
{
	if (number == common->return_register)
		return &frame->back;
	return number == CFI_REGISTER_FRAME ? &frame->frame : scratch;
}

static void place_set(struct machine *machine, uint64_t number, struct cfi_place place)
{
	struct cfi_place scratch;

	*place_of_register(&machine->now, machine->common, number, &scratch) = place;
}

static void place_restore(struct machine *machine, uint64_t number)
{
	struct cfi_place scratch = { 0 };
	struct cfi_place before = *place_of_register(&machine->initial, machine->common, number, &scratch);

	place_set(machine, number, before);
}

static const uint8_t *expression_skip(struct cursor *cursor)
{
	const uint8_t *expression = cursor->at;
	uint64_t bytes = unsigned_read(cursor);

	if (bytes > (uint64_t)(cursor->end - cursor->at)) {
		cursor->bad = true;
		return NULL;
	}
	cursor->at += bytes;
	return expression;
}

static void cfa_set(struct machine *machine, uint64_t number, int64_t offset)
{
	machine->now.cfa_register = number;
	machine->now.cfa_offset = offset;
	machine->now.cfa_expression = NULL;
}

static void state_remember(struct machine *machine, struct cursor *cursor)
{
	if (machine->remembered_count == REMEMBERED_MAX)
		cursor->bad = true;
	else
		machine->remembered[machine->remembered_count++] = machine->now;
}

static void state_recall(struct machine *machine, struct cursor *cursor)
{
	if (machine->remembered_count == 0)
		cursor->bad = true;
	else
		machine->now = machine->remembered[--machine->remembered_count];
}

/* What is nonsense wraps, as any other nonsense. */
static int64_t scaled(const struct machine *machine, int64_t units)
{
	return (int64_t)((uint64_t)units * (uint64_t)machine->common->data_unit);
}

static void saved_set(struct machine *machine, uint64_t number, int64_t units)
{
	place_set(machine, number, (struct cfi_place){ CFI_SAVED, scaled(machine, units), NULL });
}

/* Opcodes, the DWARF standard's section 6.4.2 and GNU's additions. Those with two high bits set carry an operand. */
enum {
	OP_ADVANCE = 0x40, OP_OFFSET = 0x80, OP_RESTORE = 0xc0, OP_HIGH = 0xc0, OP_LOW = 0x3f,
	OP_NOP = 0x00, OP_SET_LOC = 0x01, OP_ADVANCE1 = 0x02, OP_ADVANCE2 = 0x03, OP_ADVANCE4 = 0x04,
	OP_OFFSET_EXTENDED = 0x05, OP_RESTORE_EXTENDED = 0x06, OP_UNDEFINED = 0x07, OP_SAME_VALUE = 0x08,
	OP_REGISTER = 0x09, OP_REMEMBER = 0x0a, OP_RECALL = 0x0b, OP_DEF_CFA = 0x0c, OP_DEF_CFA_REGISTER = 0x0d,
	OP_DEF_CFA_OFFSET = 0x0e, OP_DEF_CFA_EXPRESSION = 0x0f, OP_EXPRESSION = 0x10, OP_OFFSET_SIGNED = 0x11,
	OP_DEF_CFA_SIGNED = 0x12, OP_DEF_CFA_OFFSET_SIGNED = 0x13, OP_VAL_OFFSET = 0x14, OP_VAL_OFFSET_SIGNED = 0x15,
	OP_VAL_EXPRESSION = 0x16, OP_WINDOW_SAVE = 0x2d, OP_ARGS_SIZE = 0x2e, OP_NEGATIVE_OFFSET = 0x2f,
};

static void advance(struct machine *machine, uint64_t units)
{
	machine->location += units * machine->common->code_unit;
}

static void cfa_step(struct machine *machine, struct cursor *cursor, unsigned code)
{
	uint64_t number;

	switch (code) {
	case OP_DEF_CFA:
		number = unsigned_read(cursor);
		cfa_set(machine, number, (int64_t)unsigned_read(cursor));
		break;
	case OP_DEF_CFA_SIGNED:
		number = unsigned_read(cursor);
		cfa_set(machine, number, scaled(machine, signed_read(cursor)));
		break;
	case OP_DEF_CFA_REGISTER:
		cfa_set(machine, unsigned_read(cursor), machine->now.cfa_offset);
		break;
	case OP_DEF_CFA_OFFSET:
		cfa_set(machine, machine->now.cfa_register, (int64_t)unsigned_read(cursor));
		break;
	case OP_DEF_CFA_OFFSET_SIGNED:
		cfa_set(machine, machine->now.cfa_register, scaled(machine, signed_read(cursor)));
		break;
	case OP_DEF_CFA_EXPRESSION:
		machine->now.cfa_expression = expression_skip(cursor);
		break;
	default:
		cursor->bad = true;
	}
}

static void register_step(struct machine *machine, struct cursor *cursor, unsigned code)
{
	uint64_t number = unsigned_read(cursor);

	switch (code) {
	case OP_OFFSET_EXTENDED:
		saved_set(machine, number, (int64_t)unsigned_read(cursor));
		break;
	case OP_OFFSET_SIGNED:
		saved_set(machine, number, signed_read(cursor));
		break;
	case OP_NEGATIVE_OFFSET:
		saved_set(machine, number, (int64_t)-unsigned_read(cursor));
		break;
	case OP_RESTORE_EXTENDED:
		place_restore(machine, number);
		break;
	case OP_UNDEFINED:
		place_set(machine, number, (struct cfi_place){ .where = CFI_UNDEFINED });
		break;
	case OP_SAME_VALUE:
		place_set(machine, number, (struct cfi_place){ .where = CFI_SAME });
		break;
	case OP_EXPRESSION:
		place_set(machine, number, (struct cfi_place){ CFI_COMPUTED, 0, expression_skip(cursor) });
		break;
	case OP_VAL_EXPRESSION:
		expression_skip(cursor);
		place_set(machine, number, (struct cfi_place){ .where = CFI_OTHER });
		break;
	default:                        /* OP_REGISTER, OP_VAL_OFFSET, signed or not: all have one more operand */
		unsigned_read(cursor);
		place_set(machine, number, (struct cfi_place){ .where = CFI_OTHER });
	}
}

static void plain_step(struct machine *machine, struct cursor *cursor, unsigned code)
{
	switch (code) {
	case OP_NOP:
	case OP_WINDOW_SAVE:            /* on ARM: return addresses are signed from here on, see unwind.c */
		break;
	case OP_SET_LOC:
		machine->location = pointer_read(cursor, machine->common->encoding, machine->table);
		break;
	case OP_ADVANCE1:
	case OP_ADVANCE2:
	case OP_ADVANCE4:
		advance(machine, fixed_read(cursor, (size_t)1 << (code - OP_ADVANCE1)));
		break;
	case OP_REMEMBER:
		state_remember(machine, cursor);
		break;
	case OP_RECALL:
		state_recall(machine, cursor);
		break;
	case OP_ARGS_SIZE:
		unsigned_read(cursor);
		break;
	default:
		if ((code >= OP_DEF_CFA && code <= OP_DEF_CFA_EXPRESSION) || code == OP_DEF_CFA_SIGNED ||
		    code == OP_DEF_CFA_OFFSET_SIGNED)
			cfa_step(machine, cursor, code);
		else if (code <= OP_VAL_EXPRESSION || code == OP_NEGATIVE_OFFSET)
			register_step(machine, cursor, code);
		else
			cursor->bad = true;
	}
}

/* Runs until the wanted instruction is behind; false if the program isn't understood. */
static bool program_run(struct machine *machine, struct cursor cursor)
{
	while (cursor.at < cursor.end && machine->location <= machine->wanted && !cursor.bad) {
		unsigned code = (unsigned)fixed_read(&cursor, 1);

		switch (code & OP_HIGH) {
		case OP_ADVANCE:
			advance(machine, code & OP_LOW);
			break;
		case OP_OFFSET:
			saved_set(machine, code & OP_LOW, (int64_t)unsigned_read(&cursor));
			break;
		case OP_RESTORE:
			place_restore(machine, code & OP_LOW);
			break;
		default:
			plain_step(machine, &cursor, code);
		}
	}
	return !cursor.bad;
}

bool cfi_find(const struct os_object *object, uintptr_t address, struct cfi_frame *frame)
{
	struct common common;

	if (object->unwind_table == NULL)
		return false;
	const void *description = description_find(object, address);
	if (description == NULL)
		return false;
	struct cursor cursor = entry_open(object, description);
	const uint8_t *here = cursor.at;
	uint64_t back = fixed_read(&cursor, 4);
	if (cursor.bad || back == 0 || !common_read(object, (const void *)((uintptr_t)here - back), &common))
		return false;
	uintptr_t table = (uintptr_t)object->unwind_table;
	uintptr_t start = pointer_read(&cursor, common.encoding, table);
	uint64_t bytes = form_read(&cursor, common.encoding);
	if (common.augmented) {
		uint64_t skipped = unsigned_read(&cursor);
		if (skipped > (uint64_t)(cursor.end - cursor.at))
			return false;
		cursor.at += skipped;
	}
	if (cursor.bad || address - start >= bytes)
		return false;

	struct machine machine = { .common = &common, .wanted = UINTPTR_MAX, .table = table };
	if (!program_run(&machine, common.program))
		return false;
	machine.initial = machine.now;
	machine.location = start;
	machine.wanted = address;
	if (!program_run(&machine, cursor))
		return false;
	*frame = machine.now;
	frame->signal = common.signal;
	return true;
}

/* ---- Expressions: a stack machine, of which frames use a few operations ---- */

#define STACK_MAX 8

struct stack {
	uintptr_t values[STACK_MAX + 2];
	size_t count;
	bool bad;
};

static void push(struct stack *stack, uintptr_t value)
{
	if (stack->count == STACK_MAX)
		stack->bad = true;
	else
		stack->values[stack->count++] = value;
}

static uintptr_t pop(struct stack *stack)
{
	if (stack->count == 0) {
		stack->bad = true;
		return 0;
	}
	return stack->values[--stack->count];
}

enum {
	EX_DEREF = 0x06, EX_CONST1U = 0x08, EX_CONST1S, EX_CONST2U, EX_CONST2S, EX_CONST4U, EX_CONST4S, EX_CONSTU = 0x10,
	EX_CONSTS, EX_AND = 0x1a, EX_MINUS = 0x1c, EX_PLUS = 0x22, EX_PLUS_CONST = 0x23, EX_SHL = 0x24, EX_GE = 0x2a,
	EX_LIT0 = 0x30, EX_LIT31 = 0x4f, EX_BREG0 = 0x70, EX_BREG31 = 0x8f,
};

static void combine(struct stack *stack, unsigned code)
{
	uintptr_t right = pop(stack);
	uintptr_t left = pop(stack);

	switch (code) {
	case EX_AND:
		push(stack, left & right);
		break;
	case EX_MINUS:
		push(stack, left - right);
		break;
	case EX_PLUS:
		push(stack, left + right);
		break;
	case EX_SHL:
		push(stack, right < 64 ? left << right : 0);
		break;
	case EX_GE:
		push(stack, (intptr_t)left >= (intptr_t)right);
		break;
	default:
		stack->bad = true;
	}
}

static void constant(struct stack *stack, struct cursor *cursor, unsigned code)
{
	switch (code) {
	case EX_CONSTU:
		push(stack, unsigned_read(cursor));
		break;
	case EX_CONSTS:
		push(stack, (uintptr_t)signed_read(cursor));
		break;
	default: {
		size_t bytes = (size_t)1 << ((code - EX_CONST1U) / 2);
		uint64_t value = fixed_read(cursor, bytes);
		unsigned unused = 64 - 8 * (unsigned)bytes;

		push(stack, (code - EX_CONST1U) % 2 != 0 ? (uintptr_t)((int64_t)(value << unused) >> unused) : value);
	}
	}
}

bool cfi_evaluate(const uint8_t *expression, const uint8_t *end, const uintptr_t *registers, uint64_t known,
                  const uintptr_t *first, bool (*read)(uintptr_t address, uintptr_t *word), uintptr_t *result)
{
	struct cursor cursor = { expression, end, false };
	uint64_t bytes = unsigned_read(&cursor);
	struct stack stack = { .count = 0 };

	if (cursor.bad || bytes > (uint64_t)(cursor.end - cursor.at))
		return false;
	cursor.end = cursor.at + bytes;
	if (first != NULL)
		push(&stack, *first);
	while (cursor.at < cursor.end && !cursor.bad && !stack.bad) {
		unsigned code = (unsigned)fixed_read(&cursor, 1);

		if (code >= EX_LIT0 && code <= EX_LIT31) {
			push(&stack, code - EX_LIT0);
		} else if (code >= EX_BREG0 && code <= EX_BREG31) {
			unsigned number = code - EX_BREG0;
			int64_t offset = signed_read(&cursor);
			if (number >= CFI_REGISTER_COUNT || (known >> number & 1) == 0)
				return false;
			push(&stack, registers[number] + (uintptr_t)offset);
		} else if (code == EX_PLUS_CONST) {
			uint64_t offset = unsigned_read(&cursor);
			push(&stack, pop(&stack) + offset);
		} else if (code == EX_DEREF) {
			uintptr_t word;
			if (!read(pop(&stack), &word))
				return false;
			push(&stack, word);
		} else if ((code >= EX_CONST1U && code <= EX_CONST4S) || code == EX_CONSTU || code == EX_CONSTS) {
			constant(&stack, &cursor, code);
		} else {
			combine(&stack, code);
		}
	}
	*result = pop(&stack);
	return !cursor.bad && !stack.bad;
}
