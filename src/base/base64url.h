/* base64url.h - base64url without padding (RFC 4648 section 5, RFC 7515 section 2), read strictly.
 *
 * One text for one run of bytes: padding, white space, the other alphabet and left-over bits
 * that are not zero are refused, so that a signed token has one spelling only. */
#ifndef BASE_BASE64URL_H
#define BASE_BASE64URL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>

/* Decodes into the arena, NUL behind it. False for a bad text or a poisoned arena. */
bool base64url_read(struct arena *arena, struct slice text, struct slice *out);

/* Appends the text of the bytes. */
void base64url_print(struct buf *out, struct slice bytes);

#endif
