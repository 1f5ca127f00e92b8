/* address.c - see address.h. */
#include "server/address.h"

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

static const char *print_ipv6(const struct in6_addr *address, char out[ADDRESS_TEXT])
{
    struct in6_addr prefix = *address;
    memset(&prefix.s6_addr[8], 0, 8);
    return inet_ntop(AF_INET6, &prefix, out, ADDRESS_TEXT);
}

/* What stands behind the last comma of X-Forwarded-For; NULL: no address. */
static const char *forwarded(struct MHD_Connection *connection, char out[ADDRESS_TEXT])
{
    const char *list = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Forwarded-For");
    const char *comma = list == NULL ? NULL : strrchr(list, ',');
    const char *last = comma == NULL ? list : comma + 1;
    struct in_addr in;
    struct in6_addr in6;
    if (last == NULL) {
        return NULL;
    }
    last += strspn(last, " \t");
    if (inet_pton(AF_INET, last, &in) == 1) {
        return inet_ntop(AF_INET, &in, out, ADDRESS_TEXT);
    }
    return inet_pton(AF_INET6, last, &in6) == 1 ? print_ipv6(&in6, out) : NULL;
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
        text = print_ipv6(&in6->sin6_addr, out);
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, whole, sizeof whole);
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
