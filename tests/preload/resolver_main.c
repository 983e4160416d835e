#include <stdio.h>
extern int resolver_answer(void);
int main(void) { printf("%d\n", resolver_answer()); return 0; }
