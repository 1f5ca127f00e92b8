/* commands.h - the entry points behind the dispatch table of main.c, one file each (cmd_NAME.c).
 *
 * argv[0] is the subcommand's name, the rest is its command line; the answer is the exit code of
 * output.h. An entry reads its options from a table (options.h), so --help is always there. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#define COMMAND_MAP(X)                                                                             \
    X(init, "init", "makes a device's folder and signs a user in")                                 \
    X(put, "put", "writes a whole document")                                                       \
    X(patch, "patch", "changes only what a merge patch names")                                     \
    X(inc, "inc", "adds to a number")                                                              \
    X(get, "get", "prints a document, or all of them")                                             \
    X(ls, "ls", "lists the documents with version and state")                                      \
    X(rm, "rm", "removes a document on all devices")                                               \
    X(sync, "sync", "sends what waits and fetches what is new")                                    \
    X(watch, "watch", "syncs and prints what happens until Ctrl-C")                                \
    X(queue, "queue", "what waits, and what was refused: list, retry, discard, export")            \
    X(status, "status", "who is signed in, what waits, when it last synced")                       \
    X(import_v2, "import-v2", "takes an older app's local data into a device")                     \
    X(sign_out, "sign-out", "signs the user out: --drain, --park or --discard")                    \
    X(serve, "serve", "the server")                                                                \
    X(backup, "backup", "copies a store while its server runs")                                    \
    X(restore, "restore", "puts a backup in a store's place, under a new epoch")                   \
    X(doctor, "doctor", "looks at a device, a server or a store, and says what to do")             \
    X(token, "token", "makes a token for a user")                                                  \
    X(user, "user", "accounts: list, add, disable, enable, reset, delete")                        \
    X(policy, "policy", "merge policies: list, check, set, explain")                               \
    X(explain, "explain", "which device did what to a document, and which rule decided")           \
    X(export, "export", "everything that a store holds, or a device has not sent")                 \
    X(import, "import", "a store of what export wrote")                                            \
    X(migrate, "migrate", "brings in the rows of an older system, or of another store")            \
    X(verify, "verify", "whether every row of an older system is in the store")                    \
    X(cleanup, "cleanup", "drops v1's tables, once everything was here long enough")               \
    X(rollback, "rollback", "the documents in the form of v1 or V2, for the old app")              \
    X(merge, "merge", "merges edits: JSON lines in, JSON lines out")                               \
    X(json, "json", "checks JSON strictly, or prints it compactly")                                \
    X(bench, "bench", "measures a server")                                                         \
    X(simulate, "simulate", "a fleet of devices from one seed, and everything goes wrong")

#define COMMAND_ENTRY(name, word, help) int cmd_##name(int argc, char **argv);
COMMAND_MAP(COMMAND_ENTRY)
#undef COMMAND_ENTRY

#endif
