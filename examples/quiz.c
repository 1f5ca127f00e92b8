/* quiz.c - a quiz that keeps its score on all of the user's devices: a first program with libbqsync.
 *
 *     cc quiz.c -o quiz $(pkg-config --cflags --libs bqsync)
 *     ./quiz right            offline, as the guest
 *     QUIZ_URL=http://127.0.0.1:8787 QUIZ_TOKEN=... ./quiz wrong
 *
 * Every answer is on disk when its call returns; without a network the quiz goes on all the same, and
 * what the user did is sent when there is one. */
#include <bqsync.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int play(struct bq *bq, int correct)
{
    struct bq_game_stats stats = {.size = sizeof stats};
    int status = bq_game_stats_answer(bq, correct);
    if (status == BQ_OK && correct) {
        status = bq_game_stats_add_score(bq, 10);
    }
    if (status == BQ_OK) {
        status = bq_game_stats_read(bq, &stats);
    }
    if (status == BQ_OK) {
        printf("score %lld, streak %lld (longest %lld), wrong answers %lld\n",
               (long long)stats.score, (long long)stats.current_streak,
               (long long)stats.longest_streak, (long long)stats.incorrect_answers);
    }
    return status;
}

int main(int argc, char **argv)
{
    char error[BQ_ERROR_TEXT] = "";
    struct bq_config config = BQ_CONFIG_INIT;
    struct bq *bq;
    const char *token = getenv("QUIZ_TOKEN");
    config.path = "quiz.bqsync";
    config.url = getenv("QUIZ_URL");
    config.error_text = error;
    if (argc != 2 || (strcmp(argv[1], "right") != 0 && strcmp(argv[1], "wrong") != 0)) {
        fputs("usage: quiz right|wrong\n", stderr);
        return 2;
    }
    if (bq_open(&config, &bq) != BQ_OK) {
        fprintf(stderr, "quiz: %s\n", error);
        return 1;
    }
    int status = token == NULL ? BQ_OK : bq_sign_in(bq, token, BQ_GUEST_MERGE, NULL);
    if (status == BQ_OK) {
        status = play(bq, strcmp(argv[1], "right") == 0);
    }
    if (status == BQ_OK && token != NULL && bq_flush(bq, 5000) != BQ_OK) {
        puts("no network: it is sent the next time");
    }
    if (status != BQ_OK) {
        bq_last_error(bq, error, sizeof error);
        fprintf(stderr, "quiz: %s\n", error);
    }
    bq_close(bq);
    return status == BQ_OK ? 0 : 1;
}
