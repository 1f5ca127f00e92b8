/* curl_setup.c - see curl_setup.h. */
#include "net/curl_setup.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#define CONNECT_TIMEOUT_MS 10000L
#define KEEP_ALIVE_S 60L

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

void curl_setup_once(void)
{
    (void)pthread_once(&curl_once, init_curl);
}

bool curl_setup_easy(CURL *easy, const struct curl_setup *setup, char *error)
{
    long timeout_ms = setup->timeout_ms;
    long connect_ms = timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS;
    int bad = 0;
    bad |= (int)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_USERAGENT, "bqsync/0.1.0");
    bad |= (int)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    bad |= (int)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEP_ALIVE_S);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Closing must not wait for a name server. */
    bad |= (int)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    if (setup->ca_file != NULL) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CAINFO, setup->ca_file);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CAPATH, (char *)NULL);
    }
    if (setup->proxy != NULL) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_PROXY, setup->proxy);
    }
    return bad == 0;
}

static void pipe_signal(sigset_t *out)
{
    (void)sigemptyset(out);
    (void)sigaddset(out, SIGPIPE);
}

void curl_quiet_begin(struct curl_quiet *quiet)
{
    sigset_t pipes, pending;
    pipe_signal(&pipes);
    (void)sigpending(&pending);
    quiet->was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipes, &quiet->before);
}

void curl_quiet_end(struct curl_quiet *quiet)
{
    struct timespec none = {0, 0};
    sigset_t pipes;
    pipe_signal(&pipes);
    if (!quiet->was_pending) {
        while (sigtimedwait(&pipes, NULL, &none) < 0 && errno == EINTR) {
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &quiet->before, NULL);
}
