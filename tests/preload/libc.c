/* What the C library allocates itself, and hands over to be freed: prints what it found, the same with any allocator. */
#include <argz.h>
#include <dirent.h>
#include <envz.h>
#include <fnmatch.h>
#include <glob.h>
#include <grp.h>
#include <iconv.h>
#include <ifaddrs.h>
#include <langinfo.h>
#include <locale.h>
#include <monetary.h>
#include <netdb.h>
#include <obstack.h>
#include <pthread.h>
#include <pwd.h>
#include <regex.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>
#include <wordexp.h>

#define obstack_chunk_alloc malloc
#define obstack_chunk_free free

static void locales(void)
{
	static const char *const names[] = { "C", "POSIX", "C.UTF-8", "en_US.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8", "ja_JP.UTF-8", "" };
	int made = 0;

	for (int round = 0; round < 20; round++)
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			locale_t locale = newlocale(LC_ALL_MASK, names[i], NULL);
			if (locale == NULL)
				continue;
			locale_t copy = duplocale(locale);
			locale_t before = uselocale(copy);
			made += nl_langinfo(CODESET) != NULL && strcoll("abc", "abd") < 0;
			uselocale(before);
			freelocale(copy);
			freelocale(locale);
			made += setlocale(LC_ALL, names[i]) != NULL;
		}
	setlocale(LC_ALL, "C.UTF-8");
	printf("locales %d\n", made);
}

static void conversions(void)
{
	static const char *const sets[] = { "UTF-16", "UTF-32LE", "ISO-8859-1", "WINDOWS-1252", "EUC-JP", "SHIFT_JIS", "KOI8-R",
	                                    "BIG5", "GB18030", "ISO-2022-JP", "UTF-7" };
	unsigned sum = 0;

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
			char in[64] = "na\xc3\xafve text", out[256] = "", *from = in, *to = out;
			size_t left = strlen(in), room = sizeof(out);
			iconv_t set = iconv_open(sets[i], "UTF-8");
			if (set == (iconv_t)-1)
				continue;
			iconv(set, &from, &left, &to, &room);
			iconv_close(set);
			for (char *byte = out; byte < to; byte++)
				sum = sum * 31 + (unsigned char)*byte;
		}
	printf("conversions %#x\n", sum);
}

static void names(void)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found = NULL;
	struct ifaddrs *interfaces = NULL;

	for (int i = 0; i < 50; i++) {
		if (getaddrinfo(i % 2 == 0 ? "127.0.0.1" : "::1", "80", &hints, &found) != 0)
			printf("getaddrinfo\n");
		else
			freeaddrinfo(found);
		if (getaddrinfo("localhost", NULL, NULL, &found) == 0)
			freeaddrinfo(found);
	}
	printf("names %d %d", getaddrinfo("no such host", "x", &hints, &found), getifaddrs(&interfaces));
	freeifaddrs(interfaces);
	struct passwd *root = getpwnam("root");
	struct group *group = getgrgid(0);
	struct protoent *tcp = getprotobyname("tcp");
	printf(" %s %s %s\n", root != NULL ? root->pw_dir : "-", group != NULL ? group->gr_name : "-", tcp != NULL ? tcp->p_name : "-");
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, 100);
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void visit_nothing(void *node)
{
	free(node);
}

/* qsort takes a block of its own from some size on; trees and tables are libc's. */
static void tables(void)
{
	size_t count = 20000;
	char (*rows)[100] = calloc(count, sizeof(*rows));
	void *tree = NULL;
	struct hsearch_data table = { 0 };
	int found = 0;

	for (size_t i = 0; i < count; i++)
		sprintf(rows[i], "%zu row", i * 7919 % 20011);
	qsort(rows, count, sizeof(*rows), compare);
	for (size_t i = 0; i < 3000; i++)
		tsearch(strdup(rows[i * 3]), &tree, compare_strings);
	hcreate_r(1000, &table);
	for (size_t i = 0; i < 500; i++) {
		ENTRY *entry;
		hsearch_r((ENTRY){ rows[i], rows[i] }, ENTER, &entry, &table);
		found += tfind(rows[i], &tree, compare_strings) != NULL;
	}
	hdestroy_r(&table);
	tdestroy(tree, visit_nothing);
	printf("tables %s, %s, %d\n", rows[0], rows[count - 1], found);
	free(rows);
}

static void processes(void)
{
	char line[200] = "";
	int sum = 0;

	for (int i = 0; i < 20; i++) {
		FILE *pipe = popen("echo from a child; exit 3", "r");
		if (pipe == NULL || fgets(line, sizeof(line), pipe) == NULL)
			printf("popen\n");
		sum += WEXITSTATUS(pclose(pipe)) + WEXITSTATUS(system("exit 4"));
	}
	printf("processes %d %s", sum, line);
}

static void expansions(void)
{
	size_t words = 0, paths = 0, matches = 0;
	wordexp_t expanded;
	glob_t globbed;
	regex_t expression;
	regmatch_t match[3];

	setenv("A_VARIABLE", "three words here", 1);
	for (int i = 0; i < 20; i++) {
		if (wordexp("a $A_VARIABLE \"$A_VARIABLE\" $((3 * 4)) $(echo b c) /et[c] ~", &expanded, 0) == 0) {
			words += expanded.we_wordc;
			wordfree(&expanded);
		}
		if (glob("/etc/*", 0, NULL, &globbed) == 0) {
			paths += globbed.gl_pathc > 0;
			globfree(&globbed);
		}
		if (regcomp(&expression, "^(a|b)*(c+)d{1,300}$", REG_EXTENDED) == 0) {
			matches += regexec(&expression, "ababccddd", 3, match, 0) == 0;
			regfree(&expression);
		}
		matches += fnmatch("*.[ch]", "file.c", 0) == 0;
	}
	printf("expansions %zu %zu %zu\n", words, paths, matches);
}

static void streams(void)
{
	char *text = NULL, *line = NULL, *made = NULL;
	size_t bytes = 0, room = 0, sum = 0;
	wchar_t *wide = NULL;
	FILE *memory = open_memstream(&text, &bytes);

	for (int i = 0; i < 10000; i++)
		fprintf(memory, "line %d%*s\n", i, i % 100, "");
	fclose(memory);
	memory = fmemopen(text, bytes, "r");
	setvbuf(memory, NULL, _IOFBF, 100000);
	while (getline(&line, &room, memory) > 0)
		sum += strlen(line);
	fclose(memory);
	free(line);
	free(text);
	memory = open_wmemstream(&wide, &bytes);
	for (int i = 0; i < 5000; i++)
		fwprintf(memory, L"%ls %d ", L"wide", i);
	fclose(memory);
	sum += wcslen(wide);
	free(wide);
	sum += (size_t)asprintf(&made, "%s%100000d%.500Lf", "x", 7, 1.0L / 3);
	free(made);
	int number;
	char *word = NULL;
	sum += (size_t)sscanf("several words 42", "%ms %*s %d", &word, &number);
	free(word);
	printf("streams %zu\n", sum);
}

static void others(void)
{
	char *vector = NULL, *directory = getcwd(NULL, 0), *real = realpath("/etc/../etc", NULL), money[50], *duplicate;
	size_t bytes = 0, entries = 0;
	struct dirent **list;
	struct obstack stack;

	envz_add(&vector, &bytes, "name", "value");
	for (int i = 0; i < 100; i++)
		argz_add(&vector, &bytes, "more");
	printf("others %s %zu", envz_get(vector, bytes, "name"), argz_count(vector, bytes));
	free(vector);
	int count = scandir("/etc", &list, NULL, alphasort);
	for (int i = 0; i < count; i++)
		free(list[i]);
	entries = count > 0;
	if (count >= 0)
		free(list);
	obstack_init(&stack);
	for (int i = 0; i < 1000; i++)
		obstack_grow(&stack, "0123456789", 10);
	printf(" %d", (int)obstack_object_size(&stack));
	obstack_free(&stack, NULL);
	strfmon(money, sizeof(money), "%n", 1234.5);
	duplicate = strndup(real, 3);
	for (int i = 0; i < 2000; i++) {
		char name[32];
		sprintf(name, "VARIABLE_%d", i % 300);
		setenv(name, money, 1);
		if (i % 3 == 0)
			unsetenv(name);
	}
	printf(" %s %s %d %zu %s\n", real, duplicate, directory != NULL, entries, getenv("VARIABLE_299"));
	free(directory);
	free(real);
	free(duplicate);
}

static void *all(void *argument)
{
	conversions();
	tables();
	streams();
	return argument;
}

int main(void)
{
	pthread_t thread;

	locales();
	names();
	processes();
	expansions();
	others();
	for (int i = 0; i < 3; i++) {
		pthread_create(&thread, NULL, all, NULL);
		pthread_join(thread, NULL);
	}
	return 0;
}
