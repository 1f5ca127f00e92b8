/* child.c - see child.h. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEXT_BYTES (64u << 10)

static void redirect(const char *path, int fd)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || dup2(file, fd) < 0) {
        _exit(126);
    }
}

bool child_start(struct child *child, const struct scratch *scratch, char *const *argv)
{
    static unsigned n;
    char name[32];
    snprintf(name, sizeof name, "child-%u.out", ++n);
    scratch_path(scratch, name, child->out, sizeof child->out);
    snprintf(name, sizeof name, "child-%u.err", n);
    scratch_path(scratch, name, child->err, sizeof child->err);
    child->pid = fork();
    if (child->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        redirect(child->out, STDOUT_FILENO);
        redirect(child->err, STDERR_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    return child->pid > 0;
}

int child_wait(struct child *child)
{
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void child_kill(struct child *child, int signal_number)
{
    kill(child->pid, signal_number);
}

int child_run(struct child *child, const struct scratch *scratch, char *const *argv)
{
    return child_start(child, scratch, argv) ? child_wait(child) : -1;
}

const char *child_text(const char *path)
{
    static char text[TEXT_BYTES];
    size_t n = 0;
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        n = fread(text, 1, sizeof text - 1, file);
        fclose(file);
    }
    text[n] = '\0';
    return text;
}

char *child_bqsync(void)
{
    char *program = getenv("BQSYNC");
    if (program == NULL || program[0] == '\0') {
        fprintf(stderr, "BQSYNC is not set: it names the program under test\n");
        abort();
    }
    return program;
}

unsigned child_port(struct child *child, const char *port_file)
{
    unsigned port = 0;
    while (sscanf(child_text(port_file), "%u", &port) != 1) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
            info.si_pid != 0) {
            return 0;
        }
        poll(NULL, 0, 2); /* between two looks at the file */
    }
    return port;
}
