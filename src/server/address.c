/* address.c - see address.h. */
#include "server/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

struct slice address_of(struct MHD_Connection *connection, char out[ADDRESS_TEXT])
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const char *text = NULL;
    if (info != NULL && info->client_addr != NULL && info->client_addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)info->client_addr;
        text = inet_ntop(AF_INET, &in->sin_addr, out, ADDRESS_TEXT);
    } else if (info != NULL && info->client_addr != NULL &&
               info->client_addr->sa_family == AF_INET6) {
        struct in6_addr prefix =
            ((const struct sockaddr_in6 *)(const void *)info->client_addr)->sin6_addr;
        memset(&prefix.s6_addr[8], 0, 8);
        text = inet_ntop(AF_INET6, &prefix, out, ADDRESS_TEXT);
    }
    return text == NULL ? SLICE("?") : slice_of(text);
}
