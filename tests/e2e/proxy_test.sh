#!/usr/bin/env bash
# proxy_test.sh - TLS by a proxy in front: the files of deploy/ with Debian's haproxy and nginx.
. tests/lib/shell.sh

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Certificate, server and ports.
prepare() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key \
        -out cert -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
    cat cert key >both
    start_server --trusted-proxy 127.0.0.1 --accounts on --accounts-anonymous
    port=$(free_port)
    front=https://localhost:$port
}

get() { curl -sS --cacert cert --max-time 20 "$@"; }

# The proxy listens.
listens() { until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 "$proxy"; done; }

# What has to work through any of them.
works() {
    same '{"status":"ok"}' "$(get "$front/healthz")"
    # The certificate is looked at.
    code 60 curl -sS --max-time 20 "$front/healthz"
    bq token --user 00000000-0000-4000-8000-000000000001 --jwt-secret-file "$secret" >token
    get -H "Authorization: Bearer $(<token)" -H 'Content-Type: application/json' \
        -d '{}' "$front/rest/v1/rpc/sync_policies" >policies
    says policies game_stats
    # The upgrade goes through.
    get --http1.1 -i -N --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
        -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \
        "$front/realtime/v1/websocket?vsn=2.0.0" >upgraded 2>/dev/null || true
    says upgraded '101'
    says upgraded 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    # A body that is announced too long.
    same 413 "$(get -o refused -w '%{http_code}' -X POST -H 'Content-Length: 99999999' \
        -H 'Expect:' "$front/rest/v1/rpc/sync_policies" 2>/dev/null || true)"
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

case_haproxy() {
    prepare
    sed -e "s#:443 ssl crt [^ ]*#127.0.0.1:$port ssl crt $PWD/both#" \
        -e "s#127.0.0.1:8787#127.0.0.1:$(<port)#" "$root/deploy/haproxy.cfg" >haproxy.cfg
    /usr/sbin/haproxy -db -f haproxy.cfg >proxy.log 2>&1 &
    proxy=$!
    listens
    works
    kill "$proxy"
    stop_server
}

case_nginx() {
    prepare
    sed -e "s#listen 443#listen 127.0.0.1:$port#" -e "s#/etc/nginx/bqsync.crt#$PWD/cert#" \
        -e "s#/etc/nginx/bqsync.key#$PWD/key#" -e "s#127.0.0.1:8787#127.0.0.1:$(<port)#" \
        -e "s#worker_processes auto#daemon off; pid $PWD/pid; worker_processes 1#" \
        "$root/deploy/nginx.conf" >nginx.conf
    /usr/sbin/nginx -p "$PWD" -e "$PWD/error.log" -c "$PWD/nginx.conf" >proxy.log 2>&1 &
    proxy=$!
    listens
    works
    kill "$proxy"
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

run_cases
