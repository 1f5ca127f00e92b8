/* request.h - one HTTP request, from its header to its answer.
 *
 * The library calls request_step() when the header is there, for each piece of body, at the end of
 * the body, and once more when a suspended request is resumed. Everything of a request lives in its
 * arena and goes with it. */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "server/http.h"
#include "server/links.h"
#include "server/rpc.h"

struct request;

/* At the request line; NULL when memory is exhausted. target is the library's pointer. */
struct request *request_new(struct http_context *context, struct MHD_Connection *connection,
                            struct link *link, const char *target);

/* After the answer, or when the connection was lost (complete is false); writes the access log. */
void request_free(struct request *request, bool complete);

/* As MHD_AccessHandlerCallback. */
enum MHD_Result request_step(struct request *request, const char *method, const char *version,
                             const char *upload, size_t *upload_size);

#endif
