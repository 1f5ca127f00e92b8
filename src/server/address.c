/* address.c - see address.h. */
#include "server/address.h"

#include "server/head.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static bool is_listed(const char *list, const char *text)
{
    size_t len = strlen(text);
    while (*list != '\0') {
        size_t n = strcspn(list, ",");
        if (n == len && memcmp(list, text, n) == 0) {
            return true;
        }
        list += n + (list[n] == ',');
    }
    return false;
}

/* Of an address of IPv6 `n_bytes` count. One of IPv4 inside of it (RFC 4291, 2.5.5.2; a socket of
 * both families gives such) is that one: else all of IPv4 were one household. */
static const char *print_ipv6(const struct in6_addr *address, size_t n_bytes,
                              char out[ADDRESS_TEXT])
{
    struct in6_addr prefix = {.s6_addr = {0}};
    if (IN6_IS_ADDR_V4MAPPED(address)) {
        return inet_ntop(AF_INET, &address->s6_addr[12], out, ADDRESS_TEXT);
    }
    memcpy(prefix.s6_addr, address->s6_addr, n_bytes);
    return inet_ntop(AF_INET6, &prefix, out, ADDRESS_TEXT);
}

#define HOUSEHOLD_BYTES 8u
#define WHOLE_BYTES 16u

/* The last line counts: a proxy may add one of its own behind the client's. */
static enum MHD_Result keep_last(void *cls, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    const char **list = cls;
    (void)kind;
    if (value != NULL && head_token_is(slice_of(name), "x-forwarded-for")) {
        *list = value;
    }
    return MHD_YES;
}

/* What stands behind the last comma of X-Forwarded-For; NULL: no address. */
static const char *forwarded(struct MHD_Connection *connection, char out[ADDRESS_TEXT])
{
    const char *list = NULL;
    struct in_addr in;
    struct in6_addr in6;
    MHD_get_connection_values(connection, MHD_HEADER_KIND, keep_last, &list);
    if (list == NULL) {
        return NULL;
    }
    const char *comma = strrchr(list, ',');
    const char *last = comma == NULL ? list : comma + 1;
    last += strspn(last, " \t");
    if (inet_pton(AF_INET, last, &in) == 1) {
        return inet_ntop(AF_INET, &in, out, ADDRESS_TEXT);
    }
    return inet_pton(AF_INET6, last, &in6) == 1 ? print_ipv6(&in6, HOUSEHOLD_BYTES, out) : NULL;
}

struct slice address_of(struct MHD_Connection *connection, const char *trusted,
                        char out[ADDRESS_TEXT])
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *peer = info == NULL ? NULL : info->client_addr;
    const char *text = NULL;
    char whole[ADDRESS_TEXT] = "";
    if (peer != NULL && peer->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)peer;
        text = inet_ntop(AF_INET, &in->sin_addr, out, ADDRESS_TEXT);
        (void)inet_ntop(AF_INET, &in->sin_addr, whole, sizeof whole);
    } else if (peer != NULL && peer->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)peer;
        text = print_ipv6(&in6->sin6_addr, HOUSEHOLD_BYTES, out);
        (void)print_ipv6(&in6->sin6_addr, WHOLE_BYTES, whole);
    }
    if (trusted != NULL && is_listed(trusted, whole)) {
        char named[ADDRESS_TEXT];
        const char *client = forwarded(connection, named);
        if (client != NULL) {
            memcpy(out, named, sizeof named);
            text = out;
        }
    }
    return text == NULL ? SLICE("?") : slice_of(text);
}
