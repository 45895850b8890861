# What the scripts share: words, the end of whatever they have started, packages, and a throwaway PostgreSQL server.
# Read by them, in the project's folder.

say() { printf '==> %s\n' "$*" >&2; }
die() {
    printf "$0: %s\n" "$@" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

server_url="" # of the throwaway server
directory=""   # of the throwaway server; empty where there is none
bin=""         # PostgreSQL's programs
child=""       # the process group of the command that is running
server_user="" # who runs the server; empty for ourselves
updated=""     # whether apt-get knows what there is

# PostgreSQL refuses to run as root.
as_server_user() (
    # Its user may not be allowed to enter the current directory.
    cd /
    if [ -z "$server_user" ]; then
        "$@"
    elif has runuser; then
        runuser -u "$server_user" -- "$@"
    elif has setpriv; then
        setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --clear-groups -- "$@"
    else
        su -s "$BASH" "$server_user" -c "$(printf '%q ' "$@")"
    fi
)

clean_up() {
    local status=$?
    trap - EXIT
    trap '' HUP INT TERM
    if [ -n "$child" ] && kill -TERM -- "-$child" 2>/dev/null; then
        local tries=50
        while [ "$tries" -gt 0 ] && kill -0 -- "-$child" 2>/dev/null; do
            sleep 0.1
            tries=$((tries - 1))
        done
        kill -KILL -- "-$child" 2>/dev/null || true
    fi
    if [ -n "$directory" ]; then
        if [ -e "$directory/data/postmaster.pid" ]; then
            as_server_user "$bin/pg_ctl" stop --pgdata="$directory/data" --mode=immediate --silent >/dev/null 2>&1 || true
        fi
        rm -rf -- "$directory"
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a command in a process group of its own and waits for it. A signal to this script is then handled at
# once, not when the command has ended, and takes with it whatever the command has started.
run() {
    say "$*"
    set -m
    "$@" </dev/null &
    child=$!
    set +m
    local status=0
    wait "$child" || status=$?
    child=''
    [ "$status" -eq 0 ] || {
        say "failed: $*"
        exit "$status"
    }
}

# Sets `bin` to a directory that holds the server's programs. Debian does not put them on PATH.
find_postgres() {
    local candidates candidate
    candidates=$(
        dirname -- "$(command -v initdb || echo /nowhere/initdb)"
        printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -rV
        if has pg_config; then pg_config --bindir; fi
    )
    while IFS= read -r candidate; do
        if [ -x "$candidate/initdb" ] && [ -x "$candidate/pg_ctl" ] && [ -x "$candidate/postgres" ]; then
            bin=$candidate
            return 0
        fi
    done <<<"$candidates"
    return 1
}

# The arguments: what is missing, the package that has it, what to do where that cannot be installed, how to install.
install() {
    local as_root=()
    has apt-get || die "$1: $3"
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || die "$1: run apt-get install $2 as root, or $3"
        as_root=(sudo)
    fi
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    say "installing $2"
    if [ -z "$updated" ]; then
        "${as_root[@]}" apt-get update >&2 </dev/null || say "apt-get update failed; trying with what is known"
        updated=yes
    fi
    "${as_root[@]}" apt-get install --yes --no-install-recommends "${@:4}" "$2" >&2 </dev/null ||
        die "apt-get could not install $2: $3"
}

install_postgres() {
    local needed="PostgreSQL's server programs (initdb, pg_ctl, postgres) are missing"
    local hint="install the PostgreSQL server"
    install "$needed" postgresql "$hint"
    find_postgres || die "$needed even after installing postgresql: $hint"
}

start_postgres() {
    local user port tries=20 log
    if [ "$(id -u)" -eq 0 ]; then
        for user in postgres nobody; do
            if id "$user" >/dev/null 2>&1; then
                server_user=$user
                break
            fi
        done
        [ -n "$server_user" ] || die "PostgreSQL does not run as root, and there is neither a user postgres nor nobody"
    fi

    # A socket's path has about 100 bytes, and root's TMPDIR may be closed to the server's user.
    local base=${TMPDIR:-/tmp}
    if [ "${#base}" -gt 60 ] || ! as_server_user test -w "$base" 2>/dev/null; then
        base=/tmp
    fi
    directory=$(mktemp -d "$base/hookonce.XXXXXX")
    log=$directory/log
    if [ -n "$server_user" ]; then
        chown -- "$server_user" "$directory"
    fi

    as_server_user "$bin/initdb" --pgdata="$directory/data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C --no-sync >"$directory/initdb" 2>&1 || {
        cat -- "$directory/initdb" >&2
        die "initdb failed"
    }
    # Tests kill programs, and benchmarks are of what is durable: what is committed has to be on disk.
    cat >>"$directory/data/postgresql.conf" <<SETTINGS
listen_addresses = '127.0.0.1'
unix_socket_directories = '$directory'
max_connections = 300
fsync = on
SETTINGS

    # Only the server's own bind settles whether a port is free. These lie below the ports that
    # systems hand to outgoing connections.
    while :; do
        port=$((15000 + RANDOM % 17000))
        if as_server_user "$bin/pg_ctl" start --pgdata="$directory/data" --log="$log" --wait --timeout=60 \
            --options="-p $port" >/dev/null 2>&1; then
            break
        fi
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ] || ! grep -q 'could not bind' "$log" 2>/dev/null; then
            cat -- "$log" >&2 || true
            die "PostgreSQL did not start; its log is above"
        fi
        rm -f -- "$log"
    done
    server_url="postgres://postgres@127.0.0.1:$port"
    say "PostgreSQL from $bin is running: $server_url"
}

if ! has cargo && [ -x "${HOME:-}/.cargo/bin/cargo" ]; then
    export PATH="$HOME/.cargo/bin:$PATH"
fi
