/* uuid.c - see uuid.h. */
#include "base/uuid.h"

static bool is_dash_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

bool uuid_parse(struct slice text, struct uuid *out)
{
    struct uuid uuid;
    if (text.len != UUID_TEXT) {
        return false;
    }
    for (size_t i = 0; i < UUID_TEXT; i++) {
        char c = text.ptr[i];
        if (is_dash_place(i)) {
            if (c != '-') {
                return false;
            }
        } else if (c >= 'A' && c <= 'F') {
            c = (char)(c - 'A' + 'a');
        } else if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        uuid.text[i] = c;
    }
    uuid.text[UUID_TEXT] = '\0';
    *out = uuid;
    return true;
}
