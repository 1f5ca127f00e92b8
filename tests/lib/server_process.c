/* server_process.c - see server_process.h. */
#include "server_process.h"

#include "token.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Only a server that does not start waits for this long. */
#define START_MS 60000

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "server_process: %s (%s)\n", what, strerror(errno));
        abort();
    }
}

void server_process_breathe(int64_t ms)
{
    (void)poll(NULL, 0, (int)ms);
}

static void find_program(char *out, size_t size)
{
    const char *given = getenv("BQSYNC");
    if (given != NULL && given[0] != '\0') {
        (void)snprintf(out, size, "%s", given);
    } else {
        ssize_t n = readlink("/proc/self/exe", out, size - 8);
        must(n > 0, "this program's path is unknown");
        out[n] = '\0';
        char *slash = strrchr(out, '/');
        memcpy(slash + 1, "bqsync", 7);
    }
    if (access(out, X_OK) != 0) {
        fprintf(stderr, "server_process: no program at %s; build bqsync or set BQSYNC\n", out);
        abort();
    }
}

const char *server_process_secret(const struct server_process *server, char *out, size_t size)
{
    return scratch_path(&server->scratch, "secret", out, size);
}

/* In the child: only calls that are safe after a fork. */
static void become_server(const char *program, char *const *arguments, const char *log)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (fd >= 0) {
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
    }
    (void)execv(program, arguments);
    _exit(127);
}

static bool read_port(const char *path, unsigned *out)
{
    FILE *file = fopen(path, "r");
    bool good = file != NULL && fscanf(file, "%u", out) == 1 && *out > 0;
    if (file != NULL) {
        fclose(file);
    }
    return good;
}

bool server_process_listens(struct server_process *server)
{
    char path[256];
    return read_port(scratch_path(&server->scratch, "port", path, sizeof path), &server->port);
}

bool server_process_has_ended(struct server_process *server)
{
    int result;
    if (server->pid != 0 && waitpid(server->pid, &result, WNOHANG) == server->pid) {
        server->result = result;
        server->pid = 0;
    }
    return server->pid == 0;
}

/* False where the server ended instead. */
static bool wait_until_it_listens(struct server_process *server)
{
    for (int waited = 0; waited < START_MS; waited += 2) {
        if (server_process_listens(server)) {
            return true;
        }
        if (server_process_has_ended(server)) {
            return false;
        }
        server_process_breathe(2);
    }
    return false;
}

void server_process_signal(struct server_process *server, int signal_number)
{
    must(server->pid != 0 && kill(server->pid, signal_number) == 0, "kill");
}

void server_process_launch(struct server_process *server)
{
    char program[4096], listen[64], port_file[256], store[512], secret[256], log[256];
    char store_path[256];
    find_program(program, sizeof program);
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%u", server->port);
    scratch_path(&server->scratch, "port", port_file, sizeof port_file);
    scratch_path(&server->scratch, "serve.log", log, sizeof log);
    (void)snprintf(store, sizeof store, "sqlite:%s",
                   scratch_path(&server->scratch, "server.db", store_path, sizeof store_path));
    if (server->store != NULL) {
        (void)snprintf(store, sizeof store, "%s", server->store);
    }
    server_process_secret(server, secret, sizeof secret);
    char *const arguments[] = {program,       "serve",       "--listen",
                               listen,        "--port-file", port_file,
                               "--store",     store,         "--jwt-secret-file",
                               secret,        "--threads",   "2",
                               "--user-rate", "0", /* tests are quicker than users */
                               "--log-level", "error",       NULL};
    (void)unlink(port_file);
    server->pid = fork();
    must(server->pid >= 0, "fork");
    if (server->pid == 0) {
        become_server(program, arguments, log);
    }
}

static void show_log(const struct server_process *server)
{
    char path[256], line[512];
    FILE *file = fopen(scratch_path(&server->scratch, "serve.log", path, sizeof path), "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        fputs(line, stderr);
    }
    if (file != NULL) {
        fclose(file);
    }
}

void server_process_start(struct server_process *server)
{
    /* Another program may hold the port for a moment; the kernel gave it to us once. */
    for (int i = 0; i < 50; i++) {
        server_process_launch(server);
        if (wait_until_it_listens(server)) {
            (void)snprintf(server->url, sizeof server->url, "http://127.0.0.1:%u", server->port);
            return;
        }
        if (server->pid != 0) {
            server_process_kill(server);
        }
        server_process_breathe(20);
    }
    show_log(server);
    must(false, "the server does not start");
}

void server_process_init(struct server_process *server)
{
    server_process_init_on(server, NULL);
}

void server_process_init_on(struct server_process *server, const char *store)
{
    char path[256];
    *server = (struct server_process){.store = store};
    scratch_init(&server->scratch);
    int fd = open(server_process_secret(server, path, sizeof path), O_WRONLY | O_CREAT, 0600);
    must(fd >= 0, "the secret cannot be written");
    must(write(fd, TOKEN_SECRET, strlen(TOKEN_SECRET)) == (ssize_t)strlen(TOKEN_SECRET),
         "the secret cannot be written");
    (void)close(fd);
    server_process_start(server);
}

static void end(struct server_process *server, int signal_number)
{
    int result;
    if (server->pid == 0) {
        return;
    }
    must(kill(server->pid, signal_number) == 0, "kill");
    while (waitpid(server->pid, &result, 0) < 0 && errno == EINTR) {
    }
    server->result = result;
    server->pid = 0;
}

void server_process_kill(struct server_process *server)
{
    end(server, SIGKILL);
}

void server_process_stop(struct server_process *server)
{
    end(server, SIGTERM);
}

void server_process_release(struct server_process *server)
{
    server_process_stop(server);
    scratch_release(&server->scratch);
}

int server_process_run(const char *const *arguments)
{
    char program[4096];
    char *copies[32];
    int n = 0;
    int result;
    find_program(program, sizeof program);
    copies[n++] = program;
    while (arguments[n - 1] != NULL) {
        must(n < 31, "too many arguments");
        copies[n] = strdup(arguments[n - 1]);
        must(copies[n] != NULL, "no memory");
        n++;
    }
    copies[n] = NULL;
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        (void)execv(program, copies);
        _exit(127);
    }
    while (waitpid(pid, &result, 0) < 0 && errno == EINTR) {
    }
    for (int i = 1; i < n; i++) {
        free(copies[i]);
    }
    return WIFEXITED(result) ? WEXITSTATUS(result) : 128 + WTERMSIG(result);
}
