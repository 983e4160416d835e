/* From opcode to operand size: see instruction.h. Sources: Intel's Software Developer's Manual, volume 2, appendix A; Arm's
 * Architecture Reference Manual, section C4.1. */
#include "guard/instruction.h"

#include <string.h>

#include "guard/unwind.h"

#define INSTRUCTION_BYTES_MAX 16

/* Not across a page that may not be there: what can't be read is 0. */
static void code_read(uintptr_t pc, uint8_t *code)
{
	uintptr_t word;

	memset(code, 0, INSTRUCTION_BYTES_MAX);
	for (size_t i = 0; i < INSTRUCTION_BYTES_MAX; i += sizeof(word))
		if (unwind_read(pc + i, &word))
			memcpy(code + i, &word, sizeof(word));
}

#if defined(__x86_64__)

struct prefixes {
	bool wide;                      /* REX.W, VEX.W */
	bool narrow;                    /* 66 */
	uint8_t repeat;                 /* f2, f3 or 0 */
	size_t vector;                  /* bytes of a whole vector: 16 unless VEX or EVEX says more */
};

static size_t operand_bytes(const struct prefixes *prefixes)
{
	if (prefixes->wide)
		return 8;
	return prefixes->narrow ? 2 : 4;
}

/* One byte of opcode. */
static size_t plain_bytes(const uint8_t *code, const struct prefixes *prefixes)
{
	uint8_t opcode = *code;
	unsigned extension = code[1] >> 3 & 7;

	if (opcode < 0x40)
		return (opcode & 7) > 3 ? 0 : (opcode & 1) == 0 ? 1 : operand_bytes(prefixes);
	switch (opcode) {
	case 0x63:
		return 4;
	case 0x80: case 0x84: case 0x86: case 0x88: case 0x8a: case 0xc0: case 0xc6: case 0xd0: case 0xd2: case 0xf6: case 0xfe:
		return 1;
	case 0x81: case 0x83: case 0x85: case 0x87: case 0x89: case 0x8b: case 0x69: case 0x6b: case 0xc1: case 0xc7: case 0xd1:
	case 0xd3: case 0xf7:
		return operand_bytes(prefixes);
	case 0x8f:
		return 8;
	case 0xff:
		return extension >= 2 ? 8 : operand_bytes(prefixes);
	case 0xa4: case 0xa6: case 0xaa: case 0xac: case 0xae:
		return prefixes->repeat == 0 ? 1 : 0;
	case 0xa5: case 0xa7: case 0xab: case 0xad: case 0xaf:
		return prefixes->repeat == 0 ? operand_bytes(prefixes) : 0;
	case 0xd8: case 0xd9: case 0xda: case 0xdb:
		return extension >= 5 && opcode == 0xdb ? 10 : 4;
	case 0xdc: case 0xdd:
		return 8;
	default:
		return 0;
	}
}

/* One number of a vector, or the whole: by the prefix. */
static size_t scalar_bytes(const struct prefixes *prefixes)
{
	switch (prefixes->repeat) {
	case 0xf3:
		return 4;
	case 0xf2:
		return 8;
	default:
		return prefixes->vector;
	}
}

/* Behind 0f, or in the first map of VEX. */
static size_t second_bytes(const uint8_t *code, const struct prefixes *prefixes)
{
	uint8_t opcode = *code;
	bool packed = prefixes->narrow || prefixes->repeat != 0;

	if ((opcode & 0xf0) == 0x40)
		return operand_bytes(prefixes);
	if ((opcode & 0xf0) == 0x90)
		return 1;
	if (opcode >= 0x50 && opcode <= 0x5f)
		return scalar_bytes(prefixes);
	switch (opcode) {
	case 0x10: case 0x11: case 0x2e: case 0x2f: case 0xc2:
		return opcode == 0x2e || opcode == 0x2f ? (prefixes->narrow ? 8 : 4) : scalar_bytes(prefixes);
	case 0x12: case 0x13: case 0x16: case 0x17: case 0xd6:
		return 8;
	case 0x14: case 0x15: case 0x28: case 0x29: case 0x2b:
		return prefixes->vector;
	case 0x2a: case 0x6e:
		return prefixes->wide ? 8 : 4;
	case 0x2c: case 0x2d:
		return prefixes->repeat == 0xf3 ? 4 : 8;
	case 0x7e:
		return prefixes->repeat == 0xf3 || prefixes->wide ? 8 : 4;
	case 0xa3: case 0xab: case 0xaf: case 0xb1: case 0xb3: case 0xba: case 0xbb: case 0xbc: case 0xbd: case 0xc1: case 0xa4:
	case 0xa5: case 0xac: case 0xad: case 0xb8: case 0xc3:
		return operand_bytes(prefixes);
	case 0xb0: case 0xb6: case 0xbe: case 0xc0:
		return 1;
	case 0xb7: case 0xbf:
		return 2;
	case 0xc7:
		return prefixes->wide ? 16 : 8;
	default:
		break;
	}
	if ((opcode >= 0x60 && opcode <= 0x7f) || opcode >= 0xd0)
		return packed || prefixes->vector > 16 ? prefixes->vector : 8;
	return 0;
}

static uint8_t repeat_of(unsigned implied, struct prefixes *prefixes)
{
	prefixes->narrow = implied == 1;
	return implied == 2 ? 0xf3 : implied == 3 ? 0xf2 : 0;
}

/* VEX and EVEX, in their first map. */
static size_t vector_bytes(const uint8_t *code)
{
	struct prefixes prefixes = { .vector = 16 };
	const uint8_t *opcode;
	unsigned map = 1;
	unsigned control;

	if (code[0] == 0xc5) {
		control = code[1];
		opcode = code + 2;
		prefixes.vector = (control & 4) != 0 ? 32 : 16;
	} else if (code[0] == 0xc4) {
		map = code[1] & 0x1f;
		control = code[2];
		opcode = code + 3;
		prefixes.wide = (control & 0x80) != 0;
		prefixes.vector = (control & 4) != 0 ? 32 : 16;
	} else {
		map = code[1] & 7;
		control = code[2];
		opcode = code + 4;
		prefixes.wide = (control & 0x80) != 0;
		prefixes.vector = (size_t)16 << (code[3] >> 5 & 3);
	}
	prefixes.repeat = repeat_of(control & 3, &prefixes);
	/* Moves of vectors have an f3 or f2 among their variants that says how they are masked. */
	if (code[0] == 0x62 && (*opcode == 0x6f || *opcode == 0x7f))
		return prefixes.vector;
	return map == 1 ? second_bytes(opcode, &prefixes) : 0;
}

size_t instruction_access_bytes(uintptr_t pc)
{
	uint8_t bytes[INSTRUCTION_BYTES_MAX];
	struct prefixes prefixes = { .vector = 16 };
	const uint8_t *code = bytes;

	code_read(pc, bytes);
	for (size_t i = 0; i < 4; i++, code++) {
		if (*code == 0x66)
			prefixes.narrow = true;
		else if (*code == 0xf2 || *code == 0xf3)
			prefixes.repeat = *code;
		/* Segments, locks, addresses of 32 bits. */
		else if (*code != 0xf0 && *code != 0x64 && *code != 0x65 && *code != 0x67 && *code != 0x2e && *code != 0x3e)
			break;
	}
	if (*code == 0xc4 || *code == 0xc5 || *code == 0x62)
		return vector_bytes(code);
	if ((*code & 0xf0) == 0x40)
		prefixes.wide = (*code++ & 8) != 0;
	return *code == 0x0f ? second_bytes(code + 1, &prefixes) : plain_bytes(code, &prefixes);
}

int instruction_writes(uintptr_t pc UNUSED) { return -1; }

#elif defined(__aarch64__)

static uint32_t code_at(uintptr_t pc)
{
	uint8_t bytes[INSTRUCTION_BYTES_MAX];
	uint32_t code;

	code_read(pc, bytes);
	memcpy(&code, bytes, sizeof(code));
	return code;
}

static uint32_t bits(uint32_t code, unsigned high, unsigned low)
{
	return code >> low & ((1u << (high - low + 1)) - 1);
}

int instruction_writes(uintptr_t pc)
{
	uint32_t code = code_at(pc);

	switch (bits(code, 29, 27)) {
	case 1:                                 /* exclusive, ordered, compare-and-swap; structures of vectors */
		return bits(code, 22, 22) == 0 || (bits(code, 26, 23) == 1 && bits(code, 21, 21) == 1);
	case 3:                                 /* literals */
		return 0;
	case 5:                                 /* pairs */
		return bits(code, 22, 22) == 0;
	case 7:                                 /* single registers; read-modify-write */
		return bits(code, 23, 22) == 0 || (bits(code, 26, 26) == 1 && bits(code, 23, 22) == 2) ||
		       (bits(code, 24, 24) == 0 && bits(code, 21, 21) == 1 && bits(code, 11, 10) == 0);
	default:
		return -1;
	}
}

size_t instruction_access_bytes(uintptr_t pc)
{
	uint32_t code = code_at(pc);
	size_t size = (size_t)1 << (code >> 30);
	bool vector = (code >> 26 & 1) != 0;

	switch (code >> 27 & 7) {
	case 1:                                 /* exclusive and ordered ones */
		return vector ? 0 : size;
	case 5:                                 /* pairs */
		return vector ? (size_t)8 << (code >> 30) : (code >> 31) != 0 ? 16 : 8;
	case 7:                                 /* single registers */
		return vector && (code >> 23 & 1) != 0 ? 16 : size;
	default:
		return 0;
	}
}

#else

size_t instruction_access_bytes(uintptr_t pc UNUSED) { return 0; }
int instruction_writes(uintptr_t pc UNUSED) { return -1; }

#endif
