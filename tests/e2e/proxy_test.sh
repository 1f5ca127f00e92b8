#!/usr/bin/env bash
# proxy_test.sh - TLS by a proxy in front: the files of deploy/ with Debian's haproxy, nginx and Caddy,
# with a private CA. Each limit of a file is tried with small numbers in it, and is missed once it is
# taken out.
. tests/lib/shell.sh

knock() { python3 "$root/tests/lib/knock.py" "$port" ca "$@"; }
get() { curl -sS --cacert ca --max-time 20 "$@"; }

# A CA and its certificate for localhost; a server.
prepare() {
    local new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
    openssl req -x509 "${new[@]}" -keyout ca.key -out ca -subj '/CN=a private CA' 2>/dev/null
    openssl req -x509 "${new[@]}" -keyout stranger.key -out stranger -subj /CN=stranger 2>/dev/null
    openssl req "${new[@]}" -keyout key -subj /CN=localhost 2>/dev/null |
        openssl x509 -req -CA ca -CAkey ca.key -days 2 -out cert \
            -extfile <(echo subjectAltName=DNS:localhost) 2>/dev/null
    cat cert key >both
    start_server --trusted-proxy 127.0.0.1 --accounts on --accounts-anonymous "$@"
}

# The file of deploy/ for a test: $port, our certificate, our server.
haproxy_file() {
    sed -e "s#:443 ssl crt [^ ]*#127.0.0.1:$port ssl crt $PWD/both#" -e "s#127.0.0.1:8787#127.0.0.1:$(<port)#" \
        -e "s#    maxconn 16384#    maxconn 1024#" "$root/deploy/haproxy.cfg"
}

nginx_file() {
    sed -e "s#listen 443#listen 127.0.0.1:$port#" -e "s#/etc/nginx/bqsync.crt#$PWD/cert#" \
        -e "s#/etc/nginx/bqsync.key#$PWD/key#" -e "s#127.0.0.1:8787#127.0.0.1:$(<port)#" \
        -e "s#worker_processes auto#daemon off; pid $PWD/pid; worker_processes 1#" "$root/deploy/nginx.conf"
}

caddy_file() {
    sed -e "s#^sync.example.org {#https://localhost:$port {\n\tbind 127.0.0.1\n\ttls $PWD/cert $PWD/key#" \
        -e "0,/^{/s##{\n\tadmin off\n\tauto_https disable_redirects#" -e "s#127.0.0.1:8787#127.0.0.1:$(<port)#" \
        "$root/deploy/Caddyfile"
}

haproxy_run() { exec /usr/sbin/haproxy -db -f "$1"; }
nginx_run() { exec /usr/sbin/nginx -p "$PWD" -e "$PWD/error.log" -c "$1"; }
caddy_run() { HOME=$PWD XDG_DATA_HOME=$PWD XDG_CONFIG_HOME=$PWD exec caddy run --adapter caddyfile --config "$1"; }

# begin KIND [FROM TO]...: the proxy, with FROM (which has to stand in its file) made TO.
begin() {
    local kind=$1 text
    shift
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    front=https://localhost:$port
    text=$("${kind}_file")
    while (($# > 0)); do
        [[ $text == *"$1"* ]] || { echo "deploy/ has no '$1' for $kind" >&2; return 1; }
        text=${text//"$1"/"$2"}
        shift 2
    done
    printf '%s\n' "$text" >"$PWD/proxy.conf"
    ("${kind}_run" "$PWD/proxy.conf") >proxy.log 2>&1 &
    proxy=$!
    until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        kill -0 "$proxy" || { cat proxy.log >&2; return 1; }
    done
}

end() {
    kill "$proxy"
    wait "$proxy" || true
}

# ---- What has to work through any of them ----

works() {
    same '{"status":"ok"}' "$(get "$front/healthz")"
    # The certificate is looked at.
    code 60 curl -sS --max-time 20 "$front/healthz"
    token_for 1 >token
    get -H "Authorization: Bearer $(<token)" -H 'Content-Type: application/json' \
        -d '{}' "$front/rest/v1/rpc/sync_policies" >policies
    says policies game_stats
    # The upgrade goes through.
    get --http1.1 -i -N --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
        -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \
        "$front/realtime/v1/websocket?vsn=2.0.0" >upgraded 2>/dev/null || true
    says upgraded '101'
    says upgraded 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    # A body that is too long; what a web page may read of the answer. curl asks before it sends the body:
    # who just sends it may meet the end of the connection before the answer. (And curl 7.88 loses an
    # answer that comes before the end of its body over HTTP/2.)
    truncate -s 60M long
    same 413 "$(get --http1.1 -o refused -D heads -w '%{http_code}' --data-binary @long -H 'Expect: 100-continue' \
        -H "Authorization: Bearer $(<token)" -H 'Content-Type: application/json' \
        -H 'Origin: https://app.example.org' "$front/rest/v1/rpc/sync_policies")"
    python3 -c 'import json, sys
answer = json.load(open("refused"))
assert answer["code"] == "too_large" and set(answer) == {"code", "details", "hint", "message"}, answer'
    grep -qi '^access-control-allow-origin: \*' heads
    grep -qi '^content-type: application/json' heads
    # A client cannot choose its address: 30 accounts an hour, whatever it says.
    local i answer
    for i in {1..31}; do
        answer=$(get -o made -w '%{http_code}' -H "X-Forwarded-For: 10.0.0.$i" \
            -H 'Content-Type: application/json' -d '{}' "$front/auth/v1/signup")
    done
    same 429 "$answer"
    # The proxy can: that was one address of many.
    same 200 "$(curl -sS -o made -w '%{http_code}' -H 'X-Forwarded-For: 10.9.9.9' \
        -H 'Content-Type: application/json' -d '{}' "$url/auth/v1/signup")"
}

# hears FD WORD...: reads lines of bqsync watch until one holds all of these words.
hears() {
    local fd=$1 line word
    shift
    while read -r -t 30 -u "$fd" line; do
        for word; do [[ $line == *"$word"* ]] || continue 2; done
        return 0
    done
    echo "bqsync watch never said: $*" >&2
    return 1
}

# libbqsync as the device: exchange, realtime, and certificates that are none.
devices() {
    export SSL_CERT_FILE=$PWD/ca
    local name
    for name in phone tablet; do
        bq init --dir $name --url "$front" --token "$(token_for 2)" >/dev/null
    done
    bq put --dir phone notes '{"a":1}' >/dev/null
    bq sync --dir phone >/dev/null
    bq sync --dir tablet >/dev/null
    same '{"a":1}' "$(bq get --dir tablet notes)"
    # No poll is due for an hour: what comes, comes by the socket.
    mkfifo seen
    "$BQSYNC" watch --dir tablet --poll 1h >seen &
    local watching=$! live
    exec {live}<seen
    hears "$live" live
    bq put --dir phone notes '{"a":2}' >/dev/null
    bq sync --dir phone >/dev/null
    hears "$live" changed notes '{"a":2}'
    kill -TERM "$watching"
    wait "$watching"
    exec {live}<&-
    # Somebody else's certificate; the right one under another name (for which Caddy has none).
    bq put --dir phone notes '{"a":3}' >/dev/null
    SSL_CERT_FILE=$PWD/stranger code 4 bq sync --dir phone --wait 10s
    says err 'certificate'
    bq init --dir phone --url "https://127.0.0.1:$port" >/dev/null
    code 4 bq sync --dir phone --wait 10s
    grep -qE "'127.0.0.1'|tlsv1 alert" err
    SSL_CERT_FILE=$PWD/stranger code 1 bq doctor --url "$front"
    says out 'certificate'
    # Nothing of it is lost.
    bq init --dir phone --url "$front" >/dev/null
    bq sync --dir phone >/dev/null
    bq sync --dir tablet >/dev/null
    same '{"a":3}' "$(bq get --dir tablet notes)"
    code 0 bq doctor --url "$front" --token "$(token_for 2)"
    says out 'ok       functions'
    unset SSL_CERT_FILE
}

# ---- Limits ----

# limit KIND FROM SMALL WITHOUT KNOCK...: holds with a small number, and is missed without its line.
limit() {
    local kind=$1 from=$2 small=$3 without=$4
    shift 4
    begin "$kind" "$from" "$small"
    code 0 knock "$@"
    end
    begin "$kind" "$from" "$without"
    code 3 knock "$@"
    end
}

# A body over the proxy's limit. A device shows its edit as refused, and goes on with the next.
long_body() {
    local call=(-H "Authorization: Bearer $(<token)" -H 'Content-Type: application/json')
    printf '{%3000s}' '' >body
    get -w '%{http_code}' -o refused "${call[@]}" -d @body "$front/rest/v1/rpc/sync_policies"
}

bodies() {
    local kind=$1 from=$2 small=$3 without=$4
    begin "$kind" "$from" "$small"
    same 413 "$(long_body)"
    export SSL_CERT_FILE=$PWD/ca
    bq init --dir "$kind" --url "$front" --token "$(token_for 3)" >/dev/null
    bq put --dir "$kind" big "{\"a\":\"$(printf '%03000d' 0)\"}" >/dev/null
    bq sync --dir "$kind" >out 2>&1 || true
    bq queue --dir "$kind" list >queue
    says queue too_large
    bq put --dir "$kind" small '{"a":1}' >/dev/null
    bq sync --dir "$kind" >out 2>&1 || true
    unset SSL_CERT_FILE
    says <(get -H "Authorization: Bearer $(token_for 3)" "$front/rest/v1/user_sync_data_v2?select=data_key") small
    end
    begin "$kind" "$from" "$without"
    same 200 "$(long_body)"
    end
}

# idle KIND FROM SMALL: a silent socket is cut, one that says something is not. FROM is what the file
# has: more than the 25 s between two heartbeats of clients, and than the server's own 60 s.
idle() {
    local kind=$1 from=$2 small=$3
    begin "$kind" "$from" "$small"
    code 0 knock idle "$(token_for 1)" 0 4
    code 3 knock idle "$(token_for 1)" 0.5 4
    end
}

# ---- A restart behind the proxy ----

# Edits go on while the server stops and starts; none is lost, and what a client sees is a 502, 503
# or 504, which libbqsync tries again.
restarts() {
    [[ -z ${BQ_QUICK:-} ]] || return 0
    export SSL_CERT_FILE=$PWD/ca
    local n=16 i
    bq init --dir counter --url "$front" --token "$(token_for 4)" >/dev/null
    {
        for ((i = 0; i < n; i++)); do
            bq inc --dir counter game_stats incorrectAnswers 1 >/dev/null
            bq sync --dir counter --wait 2s >/dev/null 2>&1 || true
        done
    } &
    local counting=$!
    while kill -0 "$counting" 2>/dev/null; do
        get -o /dev/null -w '%{http_code}\n' "$front/healthz" || true
    done >statuses &
    local asking=$!
    for i in 1 2 3; do
        stop_server
        listen=127.0.0.1:$(<port) start_server --trusted-proxy 127.0.0.1
        same 200 "$(get --retry 20 --retry-delay 0 -o /dev/null -w '%{http_code}' "$front/healthz")"
    done
    wait "$counting" "$asking"
    bq sync --dir counter >/dev/null
    bq init --dir other --url "$front" --token "$(token_for 4)" >/dev/null
    bq sync --dir other >/dev/null
    says <(bq get --dir other game_stats) "\"incorrectAnswers\":$n"
    same '' "$(grep -vE '^(200|502|503|504)$' statuses)"
    unset SSL_CERT_FILE
}

# ---- Each of them ----

case_haproxy() {
    prepare
    begin haproxy
    works
    devices
    restarts
    end
    stop_server
}

case_haproxy_limits() {
    prepare
    token_for 1 >token
    limit haproxy 'gt 1024 }' 'gt 20 }' 'gt 99 }' crowd 20
    limit haproxy 'http-request 10s' 'http-request 2s' 'http-keep-alive 10s' slow 4
    bodies haproxy 'gt 52428800' 'gt 2000' 'gt 52428800'
    idle haproxy 'tunnel 1h' 'tunnel 2s'
    stop_server
}

case_nginx() {
    prepare
    begin nginx
    works
    devices
    restarts
    end
    stop_server
}

case_nginx_limits() {
    prepare
    token_for 1 >token
    limit nginx 'limit_conn address 1024;' 'limit_conn address 20;' '' crowd 20
    limit nginx 'client_header_timeout 10s;' 'client_header_timeout 2s;' '' slow 4
    bodies nginx 'size 50m;' 'size 2000;' 'size 0;'
    idle nginx 'timeout 75s' 'timeout 2s'
    stop_server
}

case_caddy() {
    prepare
    begin caddy
    works
    devices
    restarts
    end
    stop_server
}

case_caddy_limits() {
    prepare
    token_for 1 >token
    limit caddy 'read_header 10s' 'read_header 2s' '' slow 4
    bodies caddy '^\d{9,}$' '^\d{4,}$' '^\d{9,}$'
    stop_server
}

# Behind a proxy the server itself counts the sockets of a client by the address that the proxy tells.
case_sockets_are_counted_by_the_address_that_the_proxy_tells() {
    local kind
    prepare --address-sockets 8
    for kind in haproxy nginx caddy; do
        begin "$kind"
        code 0 knock crowd 8
        end
    done
    stop_server
}

# Who is not trusted says nothing about its address.
case_an_untrusted_client_is_who_it_is() {
    start_server --trusted-proxy 10.1.1.1 --accounts on --accounts-anonymous
    local i answer
    for i in {1..31}; do
        answer=$(curl -sS -o made -w '%{http_code}' -H "X-Forwarded-For: 10.0.0.$i" \
            -H 'Content-Type: application/json' -d '{}' "$url/auth/v1/signup")
    done
    same 429 "$answer"
    stop_server
}

# ./test quick has no time to wait for limits (nor for restarts).
if [[ -n ${BQ_QUICK:-} ]]; then
    unset -f case_haproxy_limits case_nginx_limits case_caddy_limits
fi
run_cases
