# Written by scripts/generate from `bqsync --help`; not by hand.

_bqsync() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} list
    if ((COMP_CWORD == 1)); then
        list="init put patch inc get ls rm sync watch queue status import-v2 sign-out serve backup restore doctor token user policy explain export import migrate verify cleanup rollback merge json bench simulate"
        mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word")
        return
    fi
    case ${COMP_WORDS[1]} in
    init)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --url|--token|--token-file|--api-key|--guest) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--url --token --token-file --api-key --guest --dir --json --help"
        ;;
    put)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --priority|--wait) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--dir --json --priority --sync --wait --seed --help"
        ;;
    patch)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --priority|--wait) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--dir --json --priority --sync --wait --help"
        ;;
    inc)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --priority|--wait) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--dir --json --priority --sync --wait --help"
        ;;
    get)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --at) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--dir --json --at --help"
        ;;
    ls)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        esac
        list="--dir --json --help"
        ;;
    rm)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --priority|--wait) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--dir --json --priority --sync --wait --help"
        ;;
    sync)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --wait) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--dir --json --wait --help"
        ;;
    watch)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --poll|--for|--count) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--dir --json --poll --no-live --for --count --help"
        ;;
    queue)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        esac
        list="list retry discard export --dir --json --all --help"
        ;;
    status)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        esac
        list="--dir --json --help"
        ;;
    import-v2)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        esac
        list="--dir --json --help"
        ;;
    sign-out)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --wait) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--drain --park --discard --wait --dir --json --help"
        ;;
    serve)
        case $before in
        --config|--listen|--port-file|--admin-listen|--admin-token-file|--admin-port-file|--store|--functions-in-database|--jwt-secret-file|--jwt-previous-secret-file|--jwks-file|--jwks-url|--jwks-ca-file|--jwt-issuer|--jwt-audience|--publishable-key|--secret-key-file|--accounts|--accounts-ttl|--accounts-algorithm|--accounts-key-file|--public-url|--upstream|--upstream-ca-file|--upstream-timeout|--upstream-calls|--upstream-sockets|--upstream-body-bytes|--stub-table|--trusted-proxy|--cors-origin|--log-level|--threads|--connections|--address-connections|--sockets|--address-sockets|--queue|--batch|--writers|--user-rate|--body-bytes|--header-timeout|--body-timeout|--reply-timeout|--idle-timeout|--socket-idle-timeout|--socket-token-timeout|--socket-refusal-delay|--join-refusal-delay|--drain-timeout|--document-bytes|--depth|--keys|--user-bytes|--history) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--config --listen --port-file --admin-listen --admin-token-file --admin-port-file --store --functions-in-database --jwt-secret-file --jwt-previous-secret-file --jwks-file --jwks-url --jwks-ca-file --jwt-issuer --jwt-audience --jwt-map-sub --publishable-key --secret-key-file --accounts --accounts-sign-up --accounts-anonymous --accounts-ttl --accounts-algorithm --accounts-key-file --public-url --upstream --upstream-ca-file --upstream-timeout --upstream-calls --upstream-sockets --upstream-body-bytes --stub-table --trusted-proxy --cors-origin --log-level --threads --connections --address-connections --sockets --address-sockets --queue --batch --writers --user-rate --body-bytes --header-timeout --body-timeout --reply-timeout --idle-timeout --socket-idle-timeout --socket-token-timeout --socket-refusal-delay --join-refusal-delay --drain-timeout --document-bytes --depth --keys --user-bytes --history --schema-dry-run --routes --help"
        ;;
    backup)
        case $before in
        --store) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--store --json --help"
        ;;
    restore)
        case $before in
        --store) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--store --epoch-only --json --help"
        ;;
    doctor)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --store|--url|--token|--token-file) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--dir --store --url --token --token-file --json --help"
        ;;
    token)
        case $before in
        --user|--jwt-secret-file|--role|--ttl) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--user --jwt-secret-file --role --ttl --json --help"
        ;;
    user)
        case $before in
        --store|--url|--token|--token-file|--password-file) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="list add disable enable reset delete export erase --store --url --token --token-file --json --password-file --help"
        ;;
    policy)
        case $before in
        --store|--url|--token|--token-file|--policies|--document|--edit|--version) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="list check set explain --store --url --token --token-file --json --policies --document --edit --version --remove --help"
        ;;
    explain)
        case $before in
        --store|--user|--version) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--store --user --version --json --help"
        ;;
    export)
        case $before in
        --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --store|--assume) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--store --v2-queue --dir --hand-over --take-back --assume --json --help"
        ;;
    import)
        case $before in
        --store) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--store --json --help"
        ;;
    migrate)
        case $before in
        --from|--to|--set-aside|--report|--jwt-secret-file) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--from --to --dry-run --set-aside --report --jwt-secret-file --json --help"
        ;;
    verify)
        case $before in
        --from|--to|--report) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--from --to --report --json --help"
        ;;
    cleanup)
        case $before in
        --from|--to|--export|--older-than|--report) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--v1 --from --to --export --older-than --report --revoke --yes --json --help"
        ;;
    rollback)
        case $before in
        --store|--to|--target) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--store --to --target --json --help"
        ;;
    merge)
        case $before in
        esac
        list="--explain --json --help"
        ;;
    json)
        case $before in
        --depth) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--print --same --depth --json --help"
        ;;
    bench)
        case $before in
        --url|--token-secret-file|--mode|--connections|--seconds|--users) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--url --token-secret-file --mode --connections --seconds --users --json --help"
        ;;
    simulate)
        case $before in
        --seeds|--from|--devices|--users|--edits|--faults|--plant|--progress) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        list="--seeds --from --devices --users --edits --faults --plant --trace --no-shrink --progress --help"
        ;;
    *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word")
    if [[ $word != -* ]]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word")
    fi
}
complete -o filenames -F _bqsync bqsync
