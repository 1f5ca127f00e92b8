/* interrupt.c - the one flag that a signal handler may write. */
#include "cli/interrupt.h"

#include <signal.h>
#include <stddef.h>

/* A signal handler has no argument: this global is the only way out of it. */
static volatile sig_atomic_t seen;

static void note(int signal_number)
{
    (void)signal_number;
    seen = 1;
}

void interrupt_catch(void)
{
    struct sigaction action = {.sa_handler = note};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupt_seen(void)
{
    return seen != 0;
}
