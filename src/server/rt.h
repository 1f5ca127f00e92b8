/* rt.h - inside of realtime.h: the loop's world, sockets and channels. The loop's thread alone
 * touches what is declared here, but for the mailbox and the counters. */
#ifndef SERVER_RT_H
#define SERVER_RT_H

#include "core/hub.h"
#include "server/realtime.h"
#include "server/relay.h"
#include "server/tables.h"
#include "server/ws.h"

#include <pthread.h>
#include <stdatomic.h>

/* Bounds that a peer can push against. */
#define RT_WAITING_BYTES (256u << 10) /* to be sent on one socket; or one frame, if larger */
#define RT_MESSAGE_BYTES (256u << 10) /* of one message; */
#define RT_FIRST_BYTES (32u << 10)    /* and before the socket showed a token */
#define RT_CHANNELS 100u              /* on one socket */
#define RT_USER_CHANNELS 256u         /* of one user */
#define RT_BINDINGS 32u               /* of one channel */
#define RT_CHANNEL_WORK (320u << 10)  /* filter_work() of the filters of one channel, */
#define RT_MAIL_WORK (4u << 20)       /* and of all that one mail is held against */
#define RT_TOPIC_BYTES 255u
#define RT_REF_BYTES 64u
#define RT_KEPT_BYTES (64u << 10)    /* topics, filters and presences of one socket */
#define RT_PRESENCE_BYTES (8u << 10) /* of one presence */
#define RT_REFUSALS 16u              /* joins of a socket that wait to be refused */
#define RT_FRAMES 1000u              /* at once, and RT_FRAME_RATE in a second */
#define RT_FRAME_RATE 100u
#define RT_TURN_BYTES (64u << 10) /* read of one socket before the others have their turn */
#define RT_MAIL_BYTES (64u << 20) /* that wait for the loop */
#define RT_EVENT_BYTES (1u << 20) /* of a record; larger ones come without long columns */
#define RT_DELAYS 1024u           /* handshakes that wait to be refused */
#define RT_USER_SLOTS 4096u       /* counters of who listens, by hash */
#define RT_CLOSE_MS 2000          /* for the other side to close */
#define RT_LOG_MS INT64_C(1000)   /* between two lines about lost upstreams */

/* Bytes that many sockets send: rendered once. */
struct rt_bytes {
    unsigned refs;
    size_t len;
    char ptr[];
};

struct rt_bytes *rt_bytes_new(struct slice text);
void rt_bytes_drop(struct rt_bytes *bytes);

/* What waits on a socket: own bytes around shared ones. */
struct rt_out {
    struct rt_out *next;
    struct rt_bytes *shared; /* NULL: none */
    uint32_t head_len;
    uint32_t tail_len;
    char own[]; /* head, then tail */
};

struct rt_binding {
    uint8_t events; /* bits of enum rt_event_type */
    uint8_t tables; /* bits of enum table_id */
    uint16_t filter_len;
    char *filter; /* NULL: none */
};

enum rt_event_type { RT_INSERT, RT_UPDATE };

struct rt_channel {
    struct rt_channel *next; /* of the socket */
    struct rt_socket *socket;
    struct hub_handle hub; /* generation 0: hears nothing */
    enum role role;        /* the present claims */
    int64_t exp_s;
    uint64_t token_hash;
    bool bound; /* `user` is set: no other one's token is taken any more */
    struct uuid user;
    bool self; /* hears its own broadcasts */
    bool ack;
    bool watches; /* presence is enabled */
    bool relayed; /* it is the upstream's; of what stands here only the names count */
    bool joined;  /* the upstream answered its join */
    uint8_t n_bindings;
    struct rt_binding *bindings;
    uint64_t presence_ref; /* 0: not tracked */
    char *presence_key;
    struct rt_bytes *presence; /* the object, without its braces */
    size_t kept;               /* bytes that count on the socket */
    uint16_t topic_len;
    uint16_t ref_len; /* of the join ref; has_ref: it was not null */
    bool has_ref;
    char text[]; /* topic, then join ref */
};

struct rt_socket {
    int fd;
    size_t index; /* in rt.sockets */
    uint64_t id;  /* never given twice */
    enum phx_vsn vsn;
    bool writing; /* epoll looks for room */
    bool closing; /* our close frame is queued; what comes is thrown away */
    bool doomed;  /* ends when this turn does */
    bool trusted; /* it has shown a token */
    struct rt_socket *next_doomed;
    struct ws_reader *reader; /* NULL: nothing is under way */
    struct rt_out *out;
    struct rt_out **out_last;
    size_t out_bytes; /* of all */
    size_t out_sent;  /* of the first */
    struct rt_channel *channels;
    unsigned n_channels;
    unsigned n_refusals;
    size_t kept;
    struct jwt_identity identity; /* of the API key */
    int64_t opened_us;
    int64_t heard_us;
    int64_t close_by_us;
    int64_t frames_us; /* the bucket of frames is full at this time */
    uint64_t address;
    char *caller;            /* API key and address, a NUL behind each; NULL: nothing is relayed */
    struct relay_link *link; /* to the upstream, while n_relayed > 0 */
    unsigned n_relayed;      /* of the channels */
    bool link_open;          /* the upstream took the API key */
    unsigned n_held;         /* messages that wait in rt_heard.c */
    size_t held_bytes;
};

/* A join whose refusal waits. */
struct rt_refusal {
    struct rt_refusal *next;
    int64_t due_us;
    struct rt_socket *socket;
    uint64_t socket_id;
    bool has_join_ref;
    bool has_ref;
    uint32_t lens[4]; /* join_ref, ref, topic, reason */
    char text[];
};

struct rt_delay {
    struct rt_delay *next;
    int64_t due_us;
    void (*later)(void *cls);
    void *cls;
};

enum rt_mail_kind { RT_MAIL_SOCKET, RT_MAIL_CHANGES, RT_MAIL_LOST, RT_MAIL_STANDS };

struct rt_change {
    struct store_doc row;
    bool inserted;
};

/* What other threads hand over; one block. */
struct rt_mail {
    struct rt_mail *next;
    enum rt_mail_kind kind;
    size_t bytes;
    /* RT_MAIL_SOCKET */
    int fd;
    struct realtime_guest guest;
    struct slice extra;
    /* RT_MAIL_CHANGES; RT_MAIL_LOST has the user alone, RT_MAIL_STANDS user and seq */
    struct uuid user;
    bool moved; /* the feed, to seq */
    bool is_read; /* from the store, since another server wrote it; */
    bool more;    /* and what is behind seq follows */
    int64_t from; /* all behind this seq is here */
    int64_t seq;
    int64_t at_us;
    bool documents; /* some changed, if only to be deleted */
    uint32_t n_changes;
    struct rt_change *changes; /* those that are not deletions */
    bool has_device;
    bool device_inserted;
    struct store_device device;
};

struct rt_counters {
    _Atomic uint64_t sockets, channels, opened, refused, joins, joins_refused, messages, changes,
        events, slow, abused, relays_lost;
};

struct realtime {
    struct realtime_config config;
    pthread_t thread;
    int epoll;
    int wake;
    pthread_mutex_t lock; /* of the mailbox and the delays */
    struct rt_mail *mail;
    struct rt_mail **mail_last;
    size_t mail_bytes;
    bool overflowed; /* not even RT_MAIL_LOST could be queued: all sockets go */
    bool look_now;
    bool stopping;
    bool hurried;
    struct rt_delay *delays;
    struct rt_delay **delays_last;
    unsigned n_delays;
    _Atomic uint32_t listening[RT_USER_SLOTS]; /* channels whose user has this hash */
    struct rt_counters counters;
    /* The thread's own. */
    struct hub *hub;
    struct rt_socket **sockets;
    size_t n_sockets;
    size_t room;
    uint64_t last_id;
    uint64_t last_presence;
    struct rt_socket *doomed;
    struct rt_refusal *refusals;
    struct rt_refusal **refusals_last;
    struct rt_user *users[RT_USER_SLOTS]; /* who is listened to; empty where nobody else writes */
    struct realtime_heard *asks;          /* to be handed over when this turn ends */
    size_t n_asks;
    size_t asks_room;
    int64_t look_at_us; /* the next look at all of them */
    struct relay *relay; /* NULL: there is no upstream */
    int64_t relay_logged_us;
    struct ws_reader *spare; /* one reader that nobody uses */
    struct arena arena;      /* of one message or one event */
    struct buf frame;        /* being built */
    char *scratch;           /* RT_TURN_BYTES, for reading */
};

/* ---- rt_socket.c ----------------------------------------------------------------------------- */

/* Takes fd, and feeds what was read already. */
void rt_socket_open(struct realtime *rt, int fd, const struct realtime_guest *guest,
                    struct slice extra);

/* What epoll tells. */
void rt_socket_ready(struct realtime *rt, struct rt_socket *socket, unsigned events);

/* Sends one frame: head, shared (NULL: none), tail. A socket that has too much waiting is
 * doomed. */
void rt_send(struct realtime *rt, struct rt_socket *socket, enum ws_opcode opcode,
             struct slice head, struct rt_bytes *shared, struct slice tail);

/* Sends rt->frame as text. */
void rt_send_frame(struct realtime *rt, struct rt_socket *socket);

/* Sends a close frame; the socket ends when the other side does, or soon. */
void rt_close(struct realtime *rt, struct rt_socket *socket, unsigned code);

/* The socket ends when this turn does. */
void rt_doom(struct realtime *rt, struct rt_socket *socket);
void rt_reap(struct realtime *rt);

/* ---- rt_channel.c ---------------------------------------------------------------------------- */

/* A whole text message of a client. */
void rt_message(struct realtime *rt, struct rt_socket *socket, struct slice text);

/* Ends the channels whose token is over. */
void rt_expire(struct realtime *rt, struct rt_socket *socket, int64_t now_s);

/* Whether the channel may hear of this user now. */
bool rt_may_hear(const struct rt_channel *channel, const struct uuid *user, int64_t now_s);

/* With the names of the message, and without claims. BQ_OK, BQ_NOMEM. */
int rt_channel_new(struct realtime *rt, struct rt_socket *socket,
                   const struct phx_message *message, struct rt_channel **out);

/* phx_close (for good) or phx_error (join again): then the channel is gone. */
void rt_channel_end(struct realtime *rt, struct rt_channel *channel, const char *event);

/* Forgets the channel without a word to its client. */
void rt_channel_free(struct realtime *rt, struct rt_channel *channel);

static inline struct slice rt_topic(const struct rt_channel *channel)
{
    return (struct slice){channel->text, channel->topic_len};
}

static inline struct slice rt_join_ref(const struct rt_channel *channel)
{
    return channel->has_ref ? (struct slice){channel->text + channel->topic_len, channel->ref_len}
                            : SLICE_NONE;
}

struct rt_channel *rt_channel_find(struct rt_socket *socket, struct slice topic);

/* phx_reply {"status":"ok","response":{}}, and the one for a topic that nobody joined. */
void rt_reply_ok(struct realtime *rt, struct rt_socket *socket, const struct phx_message *message);
void rt_reply_unmatched(struct realtime *rt, struct rt_socket *socket,
                        const struct phx_message *message);

/* ---- rt_join.c ------------------------------------------------------------------------------- */

void rt_join(struct realtime *rt, struct rt_socket *socket, const struct phx_message *message);
void rt_refuse_due(struct realtime *rt, int64_t now_us);
void rt_refusals_free(struct realtime *rt);

/* ---- rt_claims.c ----------------------------------------------------------------------------- */

/* The claims of a token in a join or an access_token message: BQ_OK, or BQ_AUTH with a sentence
 * and the name of its class. An absent token, and one of the keys, stands for the API key's. */
struct rt_claims {
    struct jwt_identity identity;
    const char *class;
    const char *text; /* without numbers */
    char reason[200];
};

int rt_claims_of(struct realtime *rt, const struct rt_socket *socket, struct slice token,
                 struct rt_claims *out);

/* A hash of a token, to see whether it is the one that is there; 0 for none. */
uint64_t rt_token_hash(const struct realtime *rt, struct slice token);

/* Any thread. The user's place in `listening`. */
unsigned rt_user_slot(const struct realtime *rt, const struct uuid *user);

/* Any thread. Whether somebody listens to this user, or to one of the same hash. */
bool rt_is_heard(struct realtime *rt, const struct uuid *user);

/* Takes new claims: in or out of the hub. BQ_OK; BQ_NOMEM; BQ_BUSY: the user has too many; BQ_AUTH:
 * the channel is another user's. */
int rt_take_claims(struct realtime *rt, struct rt_channel *channel,
                   const struct jwt_identity *identity);

/* The message behind "system": status is "ok" or "error". */
void rt_system(struct realtime *rt, struct rt_channel *channel, const char *extension,
               const char *status, struct slice text);

/* ---- rt_heard.c ------------------------------------------------------------------------------ */

/* Whether the message has to wait until it is known where the feed of its user stands: then it was
 * kept (or the socket closed, where it keeps too much) and comes again by itself. */
bool rt_hold(struct realtime *rt, struct rt_socket *socket, const struct phx_message *message,
             const struct jwt_identity *identity);

/* Forgets what waits of the socket; of this topic alone, where it is not SLICE_NONE. */
void rt_hold_forget(struct realtime *rt, const struct rt_socket *socket, struct slice topic);

/* A channel is in the hub of the user now, or not any more. */
void rt_heard_enter(struct realtime *rt, const struct uuid *id);
void rt_heard_leave(struct realtime *rt, const struct uuid *id);

/* RT_MAIL_STANDS. */
void rt_heard_start(struct realtime *rt, const struct rt_mail *mail);

/* Whether RT_MAIL_CHANGES is to be told now, and of its changes those behind *out_after. */
bool rt_heard_takes(struct realtime *rt, const struct rt_mail *mail, int64_t *out_after);

/* Asks what is to be asked; at_once: for everybody. */
void rt_heard_turn(struct realtime *rt, bool at_once);
void rt_heard_free(struct realtime *rt);

/* ---- rt_room.c ------------------------------------------------------------------------------- */

/* Broadcasts and presence among the channels of one user and topic. */
void rt_broadcast_text(struct realtime *rt, struct rt_channel *channel,
                       const struct phx_message *message);
void rt_broadcast_binary(struct realtime *rt, struct rt_socket *socket, struct slice bytes);
void rt_presence(struct realtime *rt, struct rt_channel *channel,
                 const struct phx_message *message);
void rt_presence_state(struct realtime *rt, struct rt_channel *channel);
void rt_presence_end(struct realtime *rt, struct rt_channel *channel);

/* ---- rt_relay.c ------------------------------------------------------------------------------ */

/* Whether a join is for the upstream: all that it subscribes to is the upstream's alone. */
bool rt_relay_wants(const struct realtime *rt, const struct rt_socket *socket,
                    const struct phx_message *message);

/* Passes it on. NULL, or why it may not be. */
const char *rt_relay_join(struct realtime *rt, struct rt_socket *socket,
                          const struct phx_message *message);

/* Passes on what a client says to such a topic. Where the upstream does not take it, all of them
 * end. */
void rt_relay_send(struct realtime *rt, struct rt_socket *socket, bool binary, struct slice bytes);

/* Tells the upstream that its topic is left. */
void rt_relay_leave(const struct rt_channel *channel);

/* Closes the link where no topic needs it any more. */
void rt_relay_settle(struct rt_socket *socket);

/* What the upstream said. True: there is more. */
bool rt_relay_turn(struct realtime *rt);

/* ---- rt_deliver.c ---------------------------------------------------------------------------- */

void rt_deliver(struct realtime *rt, const struct rt_mail *mail);

/* ---- rt_mail.c ------------------------------------------------------------------------------- */

/* A copy of what the op changed; NULL: memory is exhausted. */
struct rt_mail *rt_mail_of(const struct op *op, int64_t now_us);

#endif
