#!/usr/bin/env bash
# docs_test.sh - manual pages and completions say what the program and the header say.
. tests/lib/shell.sh

case_generated_pages_and_completions_are_up_to_date() {
    code 0 "$root/scripts/generate" "$BQSYNC" --check
}

# The check can fail: a program with one more option finds stale files.
case_an_option_without_its_page_is_found() {
    cat >more <<WRAPPER
#!/bin/sh
"$BQSYNC" "\$@"
case "\$*" in "put --help") echo "  --planted WORD           an option that nobody wrote down" ;; esac
WRAPPER
    chmod +x more
    code 1 "$root/scripts/generate" "$PWD/more" --check
    says out 'completions/bqsync.bash'
    says out 'completions/_bqsync'
    says out 'docs/man/bqsync.1'
}

case_every_call_of_the_header_is_in_the_manual() {
    local name
    man -l "$root/docs/man/libbqsync.3" 2>/dev/null | col -b >page
    grep -o '^BQ_API [^(]*' "$root/include/bqsync.h" | grep -o 'bq_[a-z_0-9]*$' >names
    test "$(wc -l <names)" -gt 50
    while read -r name; do
        says page "$name("
    done <names
}

case_every_option_of_serve_is_in_the_configuration_page() {
    local name
    man -l "$root/docs/man/bqsync.conf.5" 2>/dev/null | col -b >page
    bq serve --help | grep -o '^  --[a-z-]*' | sed 's/^  --//' | grep -vx -e help -e config -e routes \
        -e schema-dry-run >names
    test "$(wc -l <names)" -gt 20
    while read -r name; do
        grep -qE -- "$name|${name//-/_}" page || { echo "missing: $name" >&2; return 1; }
    done <names
}

case_pages_render_without_a_warning() {
    local page
    for page in "$root"/docs/man/*.[1-9]; do
        man --warnings -E UTF-8 -l "$page" >/dev/null 2>err
        same '' "$(<err)"
    done
}

case_bash_completes_commands_and_options() {
    . "$root/completions/bqsync.bash"
    COMP_WORDS=(bqsync pu) COMP_CWORD=1
    _bqsync
    same put "${COMPREPLY[*]}"
    COMP_WORDS=(bqsync sync --wa) COMP_CWORD=2
    _bqsync
    same --wait "${COMPREPLY[*]}"
    COMP_WORDS=(bqsync queue ret) COMP_CWORD=2
    _bqsync
    same retry "${COMPREPLY[*]}"
    mkdir folder
    COMP_WORDS=(bqsync ls --dir fo) COMP_CWORD=3
    _bqsync
    same folder "${COMPREPLY[*]}"
}

case_zsh_loads_its_completion() {
    zsh -f -c "fpath=('$root/completions' \$fpath); autoload -Uz compinit && compinit -u -D -d dump
        autoload -Uz +X _bqsync && whence -w _bqsync && print \$_comps[bqsync]" >out
    says out '_bqsync: function'
    same _bqsync "$(tail -n 1 out)"
}

case_every_command_has_help_with_its_options() {
    local name
    bq --help | sed -n '/^commands:/,/^$/p' | awk '/^  [a-z]/ { print $1 }' >names
    test "$(wc -l <names)" -ge 20
    while read -r name; do
        code 0 bq "$name" --help
        says out --help
    done <names
}

# Each threat has its row, and each test that a row names is there: a file, and a test whose name
# begins so.
threats_are_shown() {
    local id word file
    for id in S1 S2 J1 J2 J3 J4 J5 J6 H1 H2 H3 H4 H5 H6 H7 H9 W1 W2 W3 W4 W5; do
        test "$(grep -c "^| $id |" "$1")" -eq 1 || return 1
    done
    sed -n '/^| [A-Z–][0-9]* |/p' "$1" | cut -d'|' -f5 >shown
    test "$(wc -l <shown)" -ge 30 || return 1
    while read -r file; do
        ls "$root"/tests/*/"$file".* >/dev/null || return 1
    done < <(grep -o 'test_[a-z0-9_]*' shown | sort -u)
    while read -r word; do
        grep -rqE "(static void |^case_)$word" "$root/tests" || return 1
    done < <(grep -o '`[a-z0-9_]*…\?`' shown | tr -d '`…' | sort -u)
}

case_each_threat_names_tests_that_exist() {
    threats_are_shown "$root/docs/security.md"
}

# The check can fail: a row that is gone, a file and a test that nobody wrote.
case_a_threat_without_its_test_is_found() {
    local change
    for change in '/^| W3 |/d' 's/test_hub/test_nobody_wrote/' 's/`j3_…`/`j3_nobody_wrote_…`/'; do
        sed "$change" "$root/docs/security.md" >changed
        code 1 threats_are_shown changed
    done
}

run_cases
