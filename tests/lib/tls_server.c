/* tls_server.c - see tls_server.h. */
#include "tls_server.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static pid_t spawn(char *const *arguments, int out_fd)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int nothing = open("/dev/null", O_RDWR);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(nothing, STDIN_FILENO);
        (void)dup2(out_fd >= 0 ? out_fd : nothing, STDOUT_FILENO);
        (void)dup2(nothing, STDERR_FILENO);
        (void)execvp(arguments[0], arguments);
        _exit(127);
    }
    return pid;
}

/* `openssl s_server` says "ACCEPT 127.0.0.1:port" when it listens. */
static void read_url(int fd, char url[64])
{
    char text[512] = "";
    size_t len = 0;
    unsigned port = 0;
    while (len < sizeof text - 1 && port == 0) {
        ssize_t n = read(fd, text + len, 1);
        assert_true(n == 1);
        len++;
        text[len] = '\0';
        const char *at = strstr(text, "ACCEPT 127.0.0.1:");
        if (at != NULL && text[len - 1] == '\n') {
            assert_int_equal(sscanf(at + 17, "%u", &port), 1);
        }
    }
    (void)snprintf(url, 64, "https://127.0.0.1:%u", port);
}

void tls_server_start(struct tls_server *server, const char *version)
{
    int pipes[2], result;
    scratch_init(&server->scratch);
    scratch_path(&server->scratch, "cert.pem", server->certificate, sizeof server->certificate);
    scratch_path(&server->scratch, "key.pem", server->key, sizeof server->key);
    char *const make[] = {"openssl",
                          "req",
                          "-x509",
                          "-newkey",
                          "ec",
                          "-pkeyopt",
                          "ec_paramgen_curve:P-256",
                          "-nodes",
                          "-subj",
                          "/CN=test",
                          "-addext",
                          "subjectAltName=IP:127.0.0.1",
                          "-keyout",
                          server->key,
                          "-out",
                          server->certificate,
                          NULL};
    assert_int_equal(waitpid(spawn(make, -1), &result, 0) > 0 ? result : -1, 0);
    char *const serve[] = {"openssl", "s_server",          "-accept", "127.0.0.1:0",
                           "-cert",   server->certificate, "-key",    server->key,
                           "-cipher", "ALL:@SECLEVEL=0",   "-www",    (char *)version,
                           NULL};
    assert_int_equal(pipe(pipes), 0);
    server->pid = spawn(serve, pipes[1]);
    (void)close(pipes[1]);
    read_url(pipes[0], server->url);
    (void)close(pipes[0]);
}

void tls_server_stop(struct tls_server *server)
{
    (void)kill(server->pid, SIGKILL);
    (void)waitpid(server->pid, NULL, 0);
    scratch_release(&server->scratch);
}
