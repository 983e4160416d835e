/* The phases of a compiler: tokens, a syntax tree, intermediate code, better code, text. Each phase reads what the one
 * before has built, builds its own, and then the old is freed as a whole.
 *
 * Stresses generations that replace each other: a whole set of blocks of a few sizes goes at once, the next has other
 * sizes, and only the symbols live from the first phase to the last, spread among all. Arrays grow by realloc
 * meanwhile. Compilers without arenas, optimisers, document converters; the pattern of espresso and gcc in Zorn and
 * Grunwald's studies (1992). The values of the tokens are carried through all phases, and their sum must come out of
 * the last.
 */
#include "bench.h"

enum { CHILDREN_MOST = 5, OPERANDS_MOST = 12, NAME_MOST = 40, TEXT_FIRST = 256 };

struct token { char *name; uint64_t value; };
struct tree { struct tree **children; uint64_t count; char *name; uint64_t value, line; };
struct code { struct code *next; const char *name; uint64_t value; uint32_t *operands; uint32_t count, capacity; };

static uint64_t seed = 1, token_count = 100000;
static char **symbols; /* grows by realloc; its names are used by tree and code */
static uint64_t symbol_count;

static void symbol_keep(char *name)
{
	if ((symbol_count & (symbol_count - 1)) == 0)
		symbols = need(realloc(symbols, (symbol_count ? 2 * symbol_count : 1) * sizeof *symbols));
	symbols[symbol_count++] = name;
}

static struct token *tokens_new(uint64_t *sum)
{
	struct token *tokens = NULL;
	for (uint64_t n = 0, capacity = 0; n < token_count; n++) {
		if (n == capacity)
			tokens = need(realloc(tokens, (capacity = capacity ? capacity + capacity / 2 : 16) * sizeof *tokens));
		tokens[n].name = block_new(random_spread(&seed, BLOCK_LEAST, NAME_MOST));
		tokens[n].value = random_below(&seed, 1000);
		*sum += tokens[n].value;
	}
	return tokens;
}

/* The tokens from first on, count of them, as a tree: the first is the root, the rest is divided among its children. */
static struct tree *tree_new(struct token *tokens, uint64_t first, uint64_t count)
{
	struct tree *tree = need(malloc(sizeof *tree));
	uint64_t left = count - 1, at = first + 1;
	*tree = (struct tree){NULL, 0, tokens[first].name, tokens[first].value, first};
	if (!left)
		return tree;
	tree->count = random_between(&seed, 1, CHILDREN_MOST);
	tree->count = tree->count < left ? tree->count : left;
	tree->children = need(malloc(tree->count * sizeof *tree->children));
	for (uint64_t i = 0; i < tree->count; i++) {
		uint64_t share = left / (tree->count - i);
		tree->children[i] = tree_new(tokens, at, share);
		at += share;
		left -= share;
	}
	return tree;
}

/* One name in four is a symbol and stays; the others have been read and go. */
static void tokens_free(struct token *tokens)
{
	for (uint64_t n = 0; n < token_count; n++)
		if (n % 4 == 0)
			symbol_keep(tokens[n].name);
		else
			block_free(tokens[n].name);
	free(tokens);
}

static void operand_add(struct code *code, uint32_t operand)
{
	if (code->count == code->capacity) {
		code->capacity = code->capacity ? 2 * code->capacity : 2;
		code->operands = need(realloc(code->operands, code->capacity * sizeof *code->operands));
	}
	code->operands[code->count++] = operand;
}

/* Appends the tree's code at the end of a list, the children's first. */
static struct code **code_new(const struct tree *tree, struct code **end)
{
	for (uint64_t i = 0; i < tree->count; i++)
		end = code_new(tree->children[i], end);
	struct code *code = *end = need(calloc(1, sizeof *code));
	code->name = tree->line % 4 == 0 ? tree->name : NULL;
	code->value = tree->value;
	for (uint64_t n = random_between(&seed, 0, OPERANDS_MOST); n; n--)
		operand_add(code, (uint32_t)tree->value);
	return &code->next;
}

static void tree_free(struct tree *tree)
{
	for (uint64_t i = 0; i < tree->count; i++)
		tree_free(tree->children[i]);
	free(tree->children);
	free(tree);
}

/* Two instructions without a symbol become one, operands and all; the old list goes as the new one comes. */
static struct code *code_improve(struct code *old)
{
	struct code *first = NULL, **end = &first;
	while (old) {
		struct code *code = *end = need(calloc(1, sizeof *code));
		code->name = old->name;
		for (int joined = 0; old && joined < 2 && (!joined || (!code->name && !old->name)); joined++) {
			struct code *next = old->next;
			code->value += old->value;
			for (uint32_t i = 0; i < old->count; i++)
				operand_add(code, old->operands[i]);
			free(old->operands);
			free(old);
			old = next;
		}
		end = &code->next;
	}
	return first;
}

/* Writes the text, a line per instruction, and returns the sum of the values; frees the code. */
static uint64_t code_write(struct code *code)
{
	char *text = need(malloc(TEXT_FIRST));
	uint64_t length = 0, capacity = TEXT_FIRST, sum = 0;
	for (struct code *next; code; code = next) {
		uint64_t line = sizeof code->value + code->count * sizeof *code->operands;
		if (length + line > capacity)
			text = need(realloc(text, capacity *= 2));
		memcpy(text + length, &code->value, sizeof code->value);
		if (code->count)
			memcpy(text + length + sizeof code->value, code->operands, line - sizeof code->value);
		if (code->name)
			block_check(code->name);
		length += line;
		sum += code->value;
		next = code->next;
		free(code->operands);
		free(code);
	}
	free(text);
	return sum;
}

static void symbols_free(void)
{
	while (symbol_count)
		block_free(symbols[--symbol_count]);
	free(symbols);
	symbols = NULL;
}

int main(int argc, char **argv)
{
	uint64_t modules = 20;
	const struct argument rows[] = {
	    {"modules", &modules, 1, UINT64_MAX, "modules, compiled one after the other"},
	    {"tokens", &token_count, 1, UINT32_MAX, "tokens of each"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);

	uint64_t start = now_ns();
	for (uint64_t m = 0; m < modules; m++) {
		uint64_t sum = 0;
		struct token *tokens = tokens_new(&sum);
		struct tree *tree = tree_new(tokens, 0, token_count);
		tokens_free(tokens);
		struct code *code = NULL;
		code_new(tree, &code);
		tree_free(tree);
		if (code_write(code_improve(code)) != sum)
			fail("the values don't add up");
		symbols_free();
	}
	result("module", (double)(now_ns() - start) / (double)modules / 1e6, "ms");
	return 0;
}
