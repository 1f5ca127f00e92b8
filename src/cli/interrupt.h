/* interrupt.h - Ctrl-C and SIGTERM as a question, for commands that wait. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

/* From now on SIGINT and SIGTERM only set what interrupt_seen() tells; a blocking system call ends
 * with EINTR. */
void interrupt_catch(void);

bool interrupt_seen(void);

#endif
