#!/usr/bin/env bash
# phone_test.sh - bqsync import-v2 and export --v2-queue: an app's way in and back, by hand.
. tests/lib/shell.sh

# What V2's app kept: a document, and two edits of which the first was made from version 0.
preferences() {
    cat <<'JSON'
{"flutter.sync_device_id": "d1",
 "flutter.sync_data_v2_game_stats": "{\"incorrectAnswers\":2,\"score\":40}",
 "flutter.sync_queue_v2": "[{\"id\":\"a\",\"key\":\"game_stats\",\"data\":{\"incorrectAnswers\":1},\"expectedVersion\":0,\"createdAt\":\"2026-03-05T14:11:38.1\",\"retryCount\":5,\"lastAttemptAt\":\"2026-03-05T14:12:38.1\",\"lastError\":\"Network error\",\"priority\":\"high\"},{\"id\":\"b\",\"key\":\"game_stats\",\"data\":{\"incorrectAnswers\":2,\"score\":40},\"expectedVersion\":0,\"createdAt\":\"2026-03-05T14:13:38.1\",\"retryCount\":0,\"lastAttemptAt\":null,\"lastError\":null,\"priority\":\"normal\"}]"}
JSON
}

case_what_was_queued_goes_out_once_and_a_second_import_changes_nothing() {
    start_server
    preferences >prefs.json
    bq init --dir phone --url "$url" --token "$(token_for 1)" >/dev/null
    code 0 bq import-v2 prefs.json --dir phone
    says out '1 documents and 2 unsent edits taken in, 0 were there'
    code 0 bq import-v2 prefs.json --dir phone
    says out '0 documents and 0 unsent edits taken in, 3 were there'
    bq inc --dir phone game_stats incorrectAnswers 3 >/dev/null
    bq sync --dir phone >/dev/null
    bq init --dir tablet --url "$url" --token "$(token_for 1)" >/dev/null
    bq sync --dir tablet >/dev/null
    same '{"incorrectAnswers":5,"score":40}' "$(bq get --dir tablet game_stats)"
    stop_server
}

case_the_way_back_holds_the_old_items_and_the_new_edit() {
    start_server
    preferences >prefs.json
    bq init --dir phone --url "$url" --token "$(token_for 1)" >/dev/null
    bq import-v2 prefs.json --dir phone >/dev/null
    bq inc --dir phone game_stats incorrectAnswers 3 >/dev/null
    code 0 bq export --v2-queue --dir phone --hand-over
    python3 - out <<'PY'
import json, sys
prefs = json.load(open(sys.argv[1]))
queue = json.loads(prefs['sync_queue_v2'])
assert [item['id'] for item in queue][:2] == ['a', 'b'], queue
assert [item['data']['incorrectAnswers'] for item in queue] == [1, 2, 5], queue
assert {item['expectedVersion'] for item in queue} == {0}
assert all(item['retryCount'] == 0 and item['lastAttemptAt'] is None for item in queue)
assert json.loads(prefs['sync_data_v2_game_stats'])['incorrectAnswers'] == 5
assert prefs['sync_device_id'] == 'd1'
PY
    # Handed over: nothing goes out from here any more.
    code 4 bq sync --dir phone
    code 0 bq export --v2-queue --dir phone --take-back
    code 0 bq sync --dir phone
    stop_server
}

case_wrong_words_are_refused() {
    bq init --dir phone --url http://127.0.0.1:9 >/dev/null
    code 2 bq export --dir phone
    code 2 bq export --v2-queue --dir phone --assume maybe
    code 2 bq export --v2-queue --dir phone --take-back --hand-over
    code 3 bq export --v2-queue --dir phone
    says err 'nobody is signed in'
    code 3 bq import-v2 none.json --dir phone
    echo '{' >bad.json
    code 1 bq import-v2 bad.json --dir phone
    says err 'nothing was taken in'
}

run_cases
