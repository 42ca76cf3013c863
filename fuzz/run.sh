#!/bin/sh
# Runs each target for so many seconds, one after the other: run.sh [SECONDS [TARGET...]]
set -eu
cd "$(dirname "$0")"
seconds=${1:-600}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- pickle torch_zip torch_legacy distributed deepspeed safetensors flax hdf5 program memory written state metrics labels class_map image
python3 seeds.py ../fixtures/formats corpus
SWA_FUZZ_DIR=$(mktemp -d /dev/shm/swa-fuzz-XXXXXX)
export SWA_FUZZ_DIR
trap 'rm -rf "$SWA_FUZZ_DIR"' EXIT
for target in "$@"; do
    case $target in
        torch_zip) dict=zip ;;
        safetensors | flax | hdf5 | program | labels | image) dict=$target ;;
        class_map) dict=labels ;;
        memory | state | metrics) dict=safetensors ;;
        *) dict=pickle ;;
    esac
    # An image may have 179 million pixels.
    limits="-timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512"
    [ "$target" = image ] && limits="-timeout=60 -rss_limit_mb=4096 -malloc_limit_mb=4096"
    # Without sanitizers: there is next to no unsafe code in these rooms, and time is measured.
    cargo +nightly fuzz run -s none "$target" -- -dict="dict/$dict.dict" -max_len=65536 \
        $limits -max_total_time="$seconds"
done
