/* trust.c - see trust.h. */
#include "server/trust.h"

#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BACKEND "OpenSSL/"

struct trust {
    X509_STORE *store;
};

static bool is_ours(const curl_version_info_data *info)
{
    const char *version = info->ssl_version;
    return info->age >= CURLVERSION_SEVENTH && version != NULL &&
           strncmp(version, BACKEND, sizeof BACKEND - 1) == 0 &&
           strtoul(version + sizeof BACKEND - 1, NULL, 10) == OPENSSL_version_major() &&
           OPENSSL_version_major() == OPENSSL_VERSION_MAJOR;
}

struct trust *trust_new(const char *ca_file)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    if (!is_ours(info)) {
        return NULL;
    }
    const char *file = ca_file != NULL ? ca_file : info->cainfo;
    const char *folder = ca_file != NULL ? NULL : info->capath;
    struct trust *trust = mem_zalloc(1, sizeof *trust);
    if (trust == NULL) {
        return NULL;
    }
    trust->store = X509_STORE_new();
    /* As libcurl: an intermediate certificate may be what is trusted. */
    if (trust->store == NULL ||
        X509_STORE_set_flags(trust->store,
                             X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN) != 1 ||
        X509_STORE_load_locations(trust->store, file, folder) != 1) {
        ERR_clear_error();
        trust_free(trust);
        return NULL;
    }
    return trust;
}

void trust_free(struct trust *trust)
{
    if (trust != NULL) {
        X509_STORE_free(trust->store);
        mem_free(trust);
    }
}

CURLcode trust_set(CURL *easy, void *context, void *cls)
{
    const struct trust *trust = cls;
    (void)easy;
    SSL_CTX_set1_cert_store(context, trust->store);
    return CURLE_OK;
}
