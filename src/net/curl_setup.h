/* curl_setup.h - what all outgoing connections of client and server have in common: libcurl started
 * once, TLS verified and at least 1.2, http and https only, nothing followed elsewhere, no
 * SIGPIPE. */
#ifndef NET_CURL_SETUP_H
#define NET_CURL_SETUP_H

#include <curl/curl.h>
#include <signal.h>
#include <stdbool.h>

struct curl_setup {
    const char *ca_file; /* whom to trust instead of the system's; NULL */
    const char *proxy;   /* NULL: what the environment says */
    long timeout_ms;     /* connecting takes no longer, and no longer than 10 s */
};

void curl_setup_once(void);

/* Sets the options of an easy handle that do not depend on what it is for; error has
 * CURL_ERROR_SIZE bytes. False: one of them is not to be had, and the handle must not be used, for
 * each is a part of the connection's safety. */
bool curl_setup_easy(CURL *easy, const struct curl_setup *setup, char *error);

/* A peer that closes while TLS writes raises SIGPIPE; it must not end the app. Between the two
 * calls it cannot, and only one that came in between is taken away. */
struct curl_quiet {
    sigset_t before;
    bool was_pending;
};

void curl_quiet_begin(struct curl_quiet *quiet);
void curl_quiet_end(struct curl_quiet *quiet);

#endif
