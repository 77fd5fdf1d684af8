#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the files of SOURCE in DEST as `hamictl lib sync` does, for images without Python: what is equal stays
# untouched, everything else is made ready beside its place and moved there, nothing is written through a link.
# Left to hamictl: fsync, writers that race with us, a source that changes, the manifest.
# Exit codes: 0 ok, 1 usage (as HAMi's) or failure, 2 no such source, 4 not permitted, 7 refused or busy.
set -u
LC_ALL=C
export LC_ALL
umask 022

prefix=.hami-tmp.
wait_seconds=${VGPU_INIT_WAIT:-60}
claimed=
quiet=

say() { printf '%s\n' "$*"; }

fail() {
    printf 'vgpu-init.sh: %s\n' "$2" >&2
    exit "$1"
}

warn() { [ -n "$quiet" ] || printf 'warning: %s\n' "$*" >&2; }

# Runs at every exit: a failure leaves no temporary file and releases the lock.
clean_up() {
    trap - EXIT HUP INT TERM
    [ -z "$claimed" ] && return
    sweep "$prefix$$.*"
    rm -rf "$store/lock.d"
    : >"$store/lock"
}

# ---- paths -----------------------------------------------------------------------------------------------------

# An absolute path without `.`, `..` and double slashes, no link resolved; into $clean.
clean_path() {
    case $1 in /*) rest=$1 ;; *) rest=$PWD/$1 ;; esac
    clean=
    while [ -n "$rest" ]; do
        name=${rest%%/*}
        next_rest
        case $name in '' | .) ;; ..) clean=${clean%/*} ;; *) clean=$clean/$name ;; esac
    done
}

next_rest() { case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac }

# The ten letters of a file's type and permissions into $letters, its links and owner into $links and $owner.
look_at() {
    listing=$(ls -lnd -- "$1") || return 1
    letters=${listing%"${listing#??????????}"}
    # shellcheck disable=SC2086  # split into fields
    set -- ${listing%%/*}
    links=$2
    owner=$3
}

is_ours() { [ "$owner" = 0 ] || [ "$owner" = "$me" ]; }

# Refuses a directory in which others can put what they like; $2 is set for one that must be our own.
check_folder() {
    look_at "$1/." || fail 1 "'$1' cannot be read"
    case $letters in
        ????????w[tT]) is_ours || fail 7 "'$1' is writable by others" ;;
        ????????w?) fail 7 "'$1' is writable by others" ;;
    esac
    if ! is_ours; then
        [ -z "${2:-}" ] || fail 7 "'$1' belongs to uid $owner"
        warn "'$1' belongs to uid $owner, who can replace what is in it"
        return
    fi
    case $letters in
        ?????w???[tT]) ;;
        ?????w*) warn "'$1' is writable by its group" ;;
    esac
}

# Every directory from / down to $1 is real and safe; with $2 missing ones are made.
check_way() {
    way=
    rest=${1#/}
    check_folder /
    while [ -n "$rest" ]; do
        way=$way/${rest%%/*}
        next_rest
        [ ! -L "$way" ] || fail 7 "'$way' is a link or no directory"
        if [ ! -e "$way" ]; then
            [ -n "${2:-}" ] || return 0
            mkdir "$way" 2>/dev/null || [ -d "$way" ] || denied "$way"
        fi
        [ -d "$way" ] || fail 7 "'$way' is a link or no directory"
        if [ -n "$rest" ]; then check_folder "$way"; else check_folder "$way" own; fi
    done
}

denied() {
    [ -w "${1%/*}/." ] || [ "$me" = 0 ] || fail 4 "'$1' cannot be written: permission denied"
    fail 1 "'$1' cannot be written"
}

# ---- the source ------------------------------------------------------------------------------------------------

# Calls $2 for every entry below the relative folder $1, which is given as relative path; folders before their content.
walk() {
    for entry in "$source/$1"* "$source/$1".[!.]* "$source/$1"..?*; do
        [ -e "$entry" ] || [ -L "$entry" ] || continue
        "$2" "${entry#"$source/"}"
        if [ -d "$entry" ] && [ ! -L "$entry" ]; then
            walk "${entry#"$source/"}/" "$2"
        fi
    done
}

is_managed() { case $1 in ld.so.preload | .hami | .hami/* | "$prefix"* | */"$prefix"*) ;; *) return 1 ;; esac }
is_library() { case ${1##*/} in libvgpu.so*) ;; *) return 1 ;; esac }
is_pinned() { [ -n "$pinned" ] && [ "$1" = libvgpu.so ]; }
is_file() { [ -f "$1" ] && [ ! -L "$1" ]; }
is_folder() { [ -d "$1" ] && [ ! -L "$1" ]; }

count_file() { ! is_file "$source/$1" || files=$((files + 1)); }

# A file that calls itself a library is an ELF shared object for this machine and names what must be hooked.
check_library() {
    if ! is_file "$source/$1" || ! is_library "$1" || is_managed "$1"; then return 0; fi
    # shellcheck disable=SC2046  # twenty bytes, one a word
    set -- "$1" $(od -An -v -tx1 -N20 <"$source/$1")
    problem=
    if [ "${2:-}${3:-}${4:-}${5:-}" != 7f454c46 ] || [ $# -lt 21 ]; then
        problem='not an ELF file'
    elif [ "$6$7" != 0201 ]; then
        problem='not a 64-bit little-endian ELF file'
    elif [ "${18}${19}" != 0300 ]; then
        problem='not a shared object'
    elif [ "${20}${21}" != "$machine" ]; then
        problem="not built for $(uname -m)"
    elif ! names "$source/$1" dlsym || ! names "$source/$1" cuInit; then
        problem='it does not export dlsym and cuInit'
    fi
    [ -z "$problem" ] || bad="$bad'$source/$1' is not a valid libvgpu: $problem; "
}

names() { tr -c 'A-Za-z0-9_' '\n' <"$1" | grep -Fqx "$2"; }

# ---- one file --------------------------------------------------------------------------------------------------

# The permissions that an installed file gets, in octal: no other writers, no set-id bits, libraries readable by all.
wanted_mode() {
    look_at "$source/$1" || fail 1 "'$source/$1' cannot be read"
    octal_of "$letters"
    is_library "$1" && octal=$(printf '%04o' $((octal | 0444)))
    octal=$(printf '%04o' $((octal & 0755)))
}

# Ten letters as an octal number with a leading 0 into $octal.
octal_of() {
    octal=0
    bits=${1#?}
    for value in 0400 0200 0100 0040 0020 0010 0004 0002 0001; do
        case $bits in [rwxst]*) octal=$((octal + value)) ;; esac
        bits=${bits#?}
    done
    octal=$(printf '%04o' "$octal")
}

md5_of() {
    sum=$(md5sum <"$1") || fail 1 "'$1' cannot be read"
    sum=${sum%% *}
}

# True when the installed file has the same content and others cannot write to it.
is_same() {
    is_file "$dest/$1" || return 1
    look_at "$dest/$1" && is_ours || return 1
    case $letters in ????????w?) return 1 ;; esac
    md5_of "$source/$1"
    wanted_sum=$sum
    md5_of "$dest/$1"
    [ "$sum" = "$wanted_sum" ] || return 1
    octal_of "$letters"
    current=$octal
    wanted_mode "$1"
    look_at "$dest/$1"
    [ "$current" = "$octal" ] || [ "$links" = 1 ]
}

# Makes ready what differs; the number in the temporary name counts the entries, so that `publish` finds it again.
stage() {
    number=$((number + 1))
    if is_folder "$source/$1"; then
        is_managed "$1" || stage_folder "$1"
    elif ! is_file "$source/$1"; then
        say "Skipped (not a regular file): $source/$1"
    elif is_managed "$1"; then
        say "Skipped managed file: $source/$1"
    elif is_pinned "$1"; then
        say "Skipped (pinned to $pinned): $source/$1"
    elif is_same "$1"; then
        say "Skipped (same MD5): $source/$1"
    else
        ! is_folder "$dest/$1" || fail 7 "'$dest/$1' is a directory, but it must be a file"
        wanted_mode "$1"
        place_of "$1"
        make_ready "$source/$1" "$temporary" "$octal"
    fi
}

stage_folder() {
    if [ -L "$dest/$1" ] || { [ -e "$dest/$1" ] && [ ! -d "$dest/$1" ]; }; then
        fail 7 "'$dest/$1' is a link or no directory"
    fi
    [ -d "$dest/$1" ] || { mkdir "$dest/$1" && say "Created: $dest/$1"; } || denied "$dest/$1"
    check_folder "$dest/$1" own
}

# The temporary path of the entry with the current number.
place_of() {
    case $1 in */*) temporary=$dest/${1%/*}/$prefix$$.$number ;; *) temporary=$dest/$prefix$$.$number ;; esac
}

make_ready() {
    if ! cp -- "$1" "$2" || ! chmod "$3" "$2" || { [ "$me" = 0 ] && ! chown 0:0 "$2"; }; then
        fail 1 "'$1' cannot be copied to '$dest': nothing was changed"
    fi
}

# Moves into place what was made ready, and sets permissions of what was equal; the unversioned library waits.
publish() {
    number=$((number + 1))
    place_of "$1"
    if [ "$1" = libvgpu.so ]; then last=$temporary; else finish "$temporary" "$1"; fi
}

finish() {
    if is_file "$1"; then
        replace "$1" "$dest/$2"
        say "Copied: $source/$2 -> $dest/$2"
    elif is_file "$source/$2" && ! is_managed "$2" && ! is_pinned "$2"; then
        match_mode "$2"
    fi
}

# mv would go into a directory that a link names; then the link itself is what must go.
replace() {
    if [ -L "$2" ] && [ -d "$2" ]; then rm -f "$2"; fi
    mv -f -- "$1" "$2" || fail 1 "'$2' cannot be replaced"
}

match_mode() {
    look_at "$dest/$1" || return 0
    octal_of "$letters"
    current=$octal
    wanted_mode "$1"
    [ "$current" = "$octal" ] && return
    chmod "$octal" "$dest/$1" || fail 1 "'$dest/$1' cannot be changed"
    say "Mode set: $dest/$1 ($octal)"
}

preload() {
    line=$dest/libvgpu.so
    if is_file "$dest/ld.so.preload"; then
        look_at "$dest/ld.so.preload"
        case $letters in
            ????????w?) ;;
            *) is_ours && printf '%s\n' "$line" | cmp -s - "$dest/ld.so.preload" && return ;;
        esac
    fi
    ! is_folder "$dest/ld.so.preload" || fail 7 "'$dest/ld.so.preload' is a directory, but it must be a file"
    temporary=$dest/$prefix$$.preload
    { printf '%s\n' "$line" >"$temporary" && chmod 0644 "$temporary"; } || fail 1 "'$temporary' cannot be written"
    replace "$temporary" "$dest/ld.so.preload"
    say "Updated: $dest/ld.so.preload -> $line"
}

# ---- one at a time ---------------------------------------------------------------------------------------------

# `PID START PIDNS` of a process into $identity; no later process has the same.
identify() {
    started=
    if read -r stat_line 2>/dev/null <"/proc/$1/stat"; then
        # shellcheck disable=SC2086  # split into fields
        set -- "$1" ${stat_line##*) }
        shift 20
        started=$1
        set -- "${stat_line%% *}"
    fi
    identity="$1 $started $(readlink /proc/self/ns/pid)"
}

# True when the owner of lock.d cannot be at work.
is_stale() {
    owner_line=
    [ ! -f "$store/lock.d/owner" ] || [ -L "$store/lock.d/owner" ] || read -r owner_line <"$store/lock.d/owner"
    # shellcheck disable=SC2086  # split into words
    set -- $owner_line
    if [ $# -ne 4 ]; then
        # One that had no time for its name and used the flock is dead, since we hold it.
        [ $# -ne 0 ] || [ -z "$interrupted" ] || return 0
        nameless=$((nameless + 1))
        [ "$nameless" -gt 100 ]
        return
    fi
    [ "$1" != flock ] || [ -z "$have_flock" ] || return 0
    if [ "$4" != "$(readlink /proc/self/ns/pid)" ]; then
        [ -n "$(find "$store/lock.d" -prune -mmin +10)" ]
        return
    fi
    identify "$2"
    [ "$identity" != "$2 $3 $4" ]
}

pause() {
    waited=$((waited + 1))
    [ "$waited" -le $((wait_seconds * 10)) ] || fail 7 "'$store' is held by another sync"
    sleep 0.1 2>/dev/null || sleep 1
}

lock() {
    [ ! -L "$store" ] || fail 7 "'$store' is a link or no directory"
    [ -d "$store" ] || mkdir "$store" 2>/dev/null || [ -d "$store" ] || denied "$store"
    check_folder "$store" own
    if [ -L "$store/lock" ] || [ -L "$store/lock.d" ]; then fail 7 "'$store' holds a link in place of its lock"; fi
    waited=0
    nameless=0
    have_flock=
    interrupted=
    if command -v flock >/dev/null 2>&1; then
        have_flock=flock
        # In a group, because a failing redirection of exec would end us without a word.
        { : >>"$store/lock"; } 2>/dev/null || denied "$store/lock"
        exec 9>>"$store/lock"
        while ! flock -n 9; do pause; done
        [ ! -s "$store/lock" ] || interrupted=yes
        printf 'at work\n' >&9 || fail 1 "'$store/lock' cannot be written"
    fi
    until mkdir "$store/lock.d" 2>/dev/null; do
        [ -d "$store/lock.d" ] || [ -w "$store/." ] || denied "$store/lock.d"
        if is_stale; then
            stale=$store/${prefix}stale.$$
            mv -- "$store/lock.d" "$stale" 2>/dev/null && rm -rf "$stale"
        else
            pause
        fi
    done
    claimed=yes
    identify "$$"
    printf '%s %s\n' "${have_flock:-mkdir}" "$identity" >"$store/lock.d/owner" || fail 1 "'$store' cannot be written"
}

# Removes temporary files of this pattern from everywhere but the containers' own directories.
sweep() { (cd "$dest" && find . -path ./containers -prune -o -name "$1" -prune -exec rm -rf {} +); }

# ---- the run ---------------------------------------------------------------------------------------------------

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ -z "$1" ]; then
    printf 'Usage: vgpu-init.sh <destination_directory> [source_directory]\n' >&2
    exit 1
fi
clean_path "$1"
dest=$clean
clean_path "${2:-/k8s-vgpu/lib/nvidia}"
source=$clean
store=$dest/.hami
me=$(id -u)
[ -d "$source" ] || fail 2 "'$source' is no directory"
case $dest/ in "$source"/*) fail 2 "'$dest' lies in the source '$source'" ;; esac
files=0
walk '' count_file
[ "$files" -gt 0 ] || { say "Nothing to install: '$source' holds no library" && exit 0; }
quiet=yes
check_way "$dest"
quiet=
case $(uname -m) in
    x86_64) machine=3e00 ;;
    aarch64) machine=b700 ;;
    riscv64) machine=f300 ;;
    ppc64le) machine=1500 ;;
    loongarch64) machine=0201 ;;
    *) machine=none ;;
esac
bad=
walk '' check_library
[ -z "$bad" ] || fail 7 "${bad%; }"
check_way "$dest" make
trap clean_up EXIT
trap 'exit 130' HUP INT TERM
lock
sweep "$prefix*"
pinned=
! is_file "$store/manifest.json" || pinned=$(sed -n 's/^ "pinned": "\(.*\)",$/\1/p' "$store/manifest.json")
number=0
walk '' stage
number=0
last=
walk '' publish
[ -z "$last" ] || finish "$last" libvgpu.so
preload
