/* password.c - see password.h. */
#include "server/password.h"

#include "base/base64url.h"
#include "base/mem.h"
#include "base/status.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SALT_BYTES 16u
#define HASH_BYTES 32u
#define LOG_N 15u
#define BLOCK 8u
#define LOG_N_MAX 20u
#define MEMORY_MAX (UINT64_C(256) << 20)
#define THREADS_MAX 8u

struct passwords {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct password_job *first;
    struct password_job **last;
    size_t n_waiting;
    size_t queue;
    bool stopping;
    bool joined;
    unsigned n_threads;
    pthread_t threads[THREADS_MAX];
};

/* ---- scrypt ---------------------------------------------------------------------------------- */

static bool hash(struct slice password, struct slice salt, unsigned log_n,
                 unsigned char out[HASH_BYTES])
{
    bool good =
        EVP_PBE_scrypt(password.ptr, password.len, (const unsigned char *)salt.ptr, salt.len,
                       UINT64_C(1) << log_n, BLOCK, 1, MEMORY_MAX, out, HASH_BYTES) == 1;
    ERR_clear_error();
    return good;
}

static void make(struct password_job *job)
{
    unsigned char salt[SALT_BYTES];
    unsigned char bytes[HASH_BYTES];
    struct buf text = BUF_INIT;
    job->hash[0] = '\0';
    if (RAND_bytes(salt, sizeof salt) != 1 ||
        !hash(job->password, (struct slice){(const char *)salt, sizeof salt}, LOG_N, bytes)) {
        return;
    }
    buf_add_format(&text, "$scrypt$ln=%u,r=%u,p=1$", LOG_N, BLOCK);
    base64url_print(&text, (struct slice){(const char *)salt, sizeof salt});
    buf_add_char(&text, '$');
    base64url_print(&text, (struct slice){(const char *)bytes, sizeof bytes});
    if (!text.failed && text.len < PASSWORD_TEXT) {
        memcpy(job->hash, text.ptr, text.len + 1);
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    buf_release(&text);
}

/* The next part up to a '$' or the end. */
static struct slice part(struct slice *rest)
{
    const char *dollar = rest->len == 0 ? NULL : memchr(rest->ptr, '$', rest->len);
    struct slice head = {rest->ptr, dollar == NULL ? rest->len : (size_t)(dollar - rest->ptr)};
    size_t taken = head.len + (dollar != NULL);
    *rest = (struct slice){rest->ptr + taken, rest->len - taken};
    return head;
}

static bool matches(struct slice password, struct slice stored)
{
    struct arena arena;
    struct slice rest = stored;
    struct slice salt;
    struct slice want;
    unsigned char bytes[HASH_BYTES];
    unsigned log_n = 0;
    bool good = false;
    arena_init(&arena);
    if (part(&rest).len == 0 && slice_is(part(&rest), "scrypt")) {
        struct slice costs = part(&rest);
        char text[16] = "";
        if (costs.len == 13 && memcmp(costs.ptr, "ln=", 3) == 0) {
            log_n = (unsigned)(costs.ptr[3] - '0') * 10 + (unsigned)(costs.ptr[4] - '0');
            snprintf(text, sizeof text, "ln=%02u,r=8,p=1", log_n % 100);
        }
        good = slice_is(costs, text) && log_n <= LOG_N_MAX &&
               base64url_read(&arena, part(&rest), &salt) &&
               base64url_read(&arena, part(&rest), &want) && want.len == HASH_BYTES &&
               hash(password, salt, log_n, bytes) &&
               CRYPTO_memcmp(bytes, want.ptr, HASH_BYTES) == 0;
        OPENSSL_cleanse(bytes, sizeof bytes);
    }
    arena_release(&arena);
    return good;
}

void password_run(struct password_job *job)
{
    unsigned char bytes[HASH_BYTES];
    job->matches = job->stored.ptr != NULL && matches(job->password, job->stored);
    if (job->decoy) {
        (void)hash(job->password, SLICE("sixteen bytes..."), LOG_N, bytes);
    }
    if (job->make && !job->matches) {
        make(job);
    }
}

/* ---- Threads --------------------------------------------------------------------------------- */

static struct password_job *take(struct passwords *passwords)
{
    pthread_mutex_lock(&passwords->lock);
    while (passwords->first == NULL && !passwords->stopping) {
        pthread_cond_wait(&passwords->work, &passwords->lock);
    }
    struct password_job *job = passwords->first;
    if (job != NULL) {
        passwords->first = job->next;
        passwords->n_waiting--;
        if (passwords->first == NULL) {
            passwords->last = &passwords->first;
        }
    }
    pthread_mutex_unlock(&passwords->lock);
    return job;
}

static void *run(void *cls)
{
    struct password_job *job;
    while ((job = take(cls)) != NULL) {
        password_run(job);
        job->done(job);
    }
    return NULL;
}

int passwords_start(unsigned n_threads, size_t queue, struct passwords **out)
{
    struct passwords *passwords = mem_zalloc(1, sizeof *passwords);
    if (passwords == NULL) {
        return BQ_NOMEM;
    }
    passwords->queue = queue;
    passwords->last = &passwords->first;
    pthread_mutex_init(&passwords->lock, NULL);
    pthread_cond_init(&passwords->work, NULL);
    while (passwords->n_threads < n_threads && passwords->n_threads < THREADS_MAX) {
        if (pthread_create(&passwords->threads[passwords->n_threads], NULL, run, passwords) != 0) {
            passwords_free(passwords);
            return BQ_NOMEM;
        }
        passwords->n_threads++;
    }
    *out = passwords;
    return BQ_OK;
}

void passwords_stop(struct passwords *passwords)
{
    if (passwords == NULL || passwords->joined) {
        return;
    }
    pthread_mutex_lock(&passwords->lock);
    passwords->stopping = true;
    pthread_cond_broadcast(&passwords->work);
    pthread_mutex_unlock(&passwords->lock);
    for (unsigned i = 0; i < passwords->n_threads; i++) {
        pthread_join(passwords->threads[i], NULL);
    }
    passwords->joined = true;
}

void passwords_free(struct passwords *passwords)
{
    if (passwords != NULL) {
        passwords_stop(passwords);
        pthread_mutex_destroy(&passwords->lock);
        pthread_cond_destroy(&passwords->work);
        mem_free(passwords);
    }
}

int passwords_submit(struct passwords *passwords, struct password_job *job)
{
    int status = BQ_OK;
    job->next = NULL;
    pthread_mutex_lock(&passwords->lock);
    if (passwords->stopping) {
        status = BQ_CLOSED;
    } else if (passwords->n_waiting >= passwords->queue) {
        status = BQ_BUSY;
    } else {
        *passwords->last = job;
        passwords->last = &job->next;
        passwords->n_waiting++;
        pthread_cond_signal(&passwords->work);
    }
    pthread_mutex_unlock(&passwords->lock);
    return status;
}
