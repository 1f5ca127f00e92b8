# lib.sh - what ./run and ./test share: missing packages, building. Sourced, in the source folder.

# The packages of scripts/packages whose first word is one of the arguments.
packages_of() {
    local who package rest
    while read -r who package rest; do
        [[ " $* " == *" $who "* ]] && echo "$package"
    done < <(grep -v '^#' scripts/packages)
}

# need_packages WHO...: installs what dpkg does not know as installed. Quiet when nothing is missing.
# A program that is there from elsewhere counts too: a newer Node.js brings its npm along, and Debian's
# package of that name cannot be installed beside it.
need_packages() {
    local missing=() package as_root=()
    for package in $(packages_of "$@"); do
        if ! command -v "$package" >/dev/null &&
            [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    (( ${#missing[@]} == 0 )) && return 0
    if (( EUID != 0 )); then
        if ! command -v sudo >/dev/null; then
            echo "missing Debian packages; as root: apt-get install ${missing[*]}" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    echo "installing: ${missing[*]}" >&2
    "${as_root[@]}" apt-get -qq update >&2 &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
            install "${missing[@]}" >/dev/null && return 0
    echo "apt-get failed; install these by hand and run again: ${missing[*]}" >&2
    return 1
}

# build_in DIR "TARGETS" CMAKE-OPTION...: configures when the options are new, then builds.
build_in() {
    local dir=$1 targets=$2
    shift 2
    if [[ ! -f $dir/build.ninja || $(cat "$dir/options" 2>/dev/null) != "$*" ]]; then
        cmake -S . -B "$dir" -G Ninja "$@" || return 1
        echo "$*" >"$dir/options"
    fi
    # shellcheck disable=SC2086 # several targets are several words
    ninja -C "$dir" --quiet -k 20 -j "$(nproc)" $targets
}
