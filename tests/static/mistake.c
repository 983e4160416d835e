/* A double free in a static program. */
#include <stdlib.h>
int main(int argc, char **argv)
{
	char *block = malloc(100);
	if (argc > 1)
		free(&argc);
	free(block);
	free(block);
	return argv == NULL;
}
