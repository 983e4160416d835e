/* Runs a program whose reports are to be read: they come through a pipe, get functions and lines, and go to standard
 * error. Where nothing is to be read, `quarry run` becomes the program instead. */
#ifndef QUARRY_TOOLS_WATCH_H
#define QUARRY_TOOLS_WATCH_H

/* Makes the pipe. The library's setting that sends reports there ("report=..."), to be freed; NULL, errno set, if there
 * can be none. */
char *watch_setting(void);

/* Starts the program (as execvp) and waits for it. Signals that are sent to this process are passed on. Returns the
 * program's exit status, or ends by the signal that ended the program. */
int watch_program(const char *path, char **argv);

#endif
