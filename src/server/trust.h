/* trust.h - the certificates that TLS trusts, read once for many connections: libcurl alone reads
 * its list anew for each multi handle, some 140 certificates of the system each time.
 *
 * Needs a libcurl on OpenSSL of the version that we have; where it is another, there is none of
 * this, and libcurl reads for itself. What a file says later counts after a restart. One thread
 * uses it. */
#ifndef SERVER_TRUST_H
#define SERVER_TRUST_H

#include <curl/curl.h>

struct trust;

/* ca_file: PEM; NULL: libcurl's own default. NULL: it is not to be had (or memory is exhausted),
 * leave all to libcurl, which then says what is wrong. */
struct trust *trust_new(const char *ca_file);
void trust_free(struct trust *trust);

/* For CURLOPT_SSL_CTX_FUNCTION; cls is the trust. */
CURLcode trust_set(CURL *easy, void *context, void *cls);

#endif
