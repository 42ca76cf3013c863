# Sourced by the experiments. `experiments/NAME.sh DATA STATES` runs one, and goes on where it was cut off:
# DATA is the folder of images, with train and test below it; STATES a folder for the runs, some gigabytes.
# Results (logs, evaluations) are copied to experiments/NAME as each is finished.
#
# An experiment defines `runs`, which prints a line a training run (its name, then its flags; @ stands for the seed), and
# `seed_done`, which evaluates what the runs of a seed left. Two runs go on at a time, each of one thread: they do not wait
# for each other. A run that others begin with (--trunk) comes before them, for all seeds.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
name=$(basename "$0" .sh)
[ $# -ge 2 ] || { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; echo "usage: $0 DATA STATES" >&2; exit 2; }
mkdir -p "$2"
data=$(cd "$1" && pwd) base=$(cd "$2" && pwd)
states=$base/$name results=$here/$name
: "${PROCESSES:=2}" "${SEEDS:=1 2 3}"
mkdir -p "$states" "$results"

# keep FILE NAME: a result, whole or not at all.
keep() {
    cp "$1" "$results/$2.part" && mv "$results/$2.part" "$results/$2"
}

# One training run, or the rest of it.
train_one() {
    seed=$1 run=$2
    shift 2
    folder=$states/$run-$seed
    [ ! -e "$folder/done" ] || return 0
    swa-train "$folder" --resume --data "$data" --seed "$seed" --threads 1 --quiet "$@" || exit 255
    keep "$folder/results/log.jsonl" "$run-$seed.jsonl"
    touch "$folder/done"
}

# average RUN SEED FIRST LAST NAME: the mean of a run's snapshots of these epochs, with the statistics of the very images
# that it was trained on, with their augmentation ($augment where it is not the preset's).
average() {
    out=$states/$5-$2.safetensors
    [ ! -e "$out" ] || return 0
    swa-avg "$states/$1-$2" --range "$3..$4" -qo "$out.mean.safetensors" --force
    swa-bn-update "$out.mean.safetensors" --data "$data" --method weighted --transform "${augment:-train}" --batch-size 128 \
        --samples "$samples" --seed 0 $pixels --threads 1 -qo "$out" --force
    rm "$out.mean.safetensors"
}

# evaluate SEED NAME MODEL…: top-1, NLL and paired differences from the first, on the test images. The models are named as
# they lie in the states.
evaluate() {
    seed=$1 file=$2-$1.json
    shift 2
    [ ! -e "$results/$file" ] || return 0
    (cd "$states" && swa-eval "$@" --data "$data" $pixels --threads 1 --json -q >"$file")
    keep "$states/$file" "$file"
}

# budgets SEED FIRST ONE QUARTER HALF: a column of the paper's tables, from runs called swa, sgd and sgd-1.5: SWA's snapshots
# from epoch FIRST on, read after 1, 1.25 and 1.5 B.
budgets() {
    average swa "$1" "$2" "$3" swa-1
    average swa "$1" "$2" "$4" swa-1.25
    average swa "$1" "$2" "$5" swa-1.5
    evaluate "$1" models "sgd-$1/results/last.safetensors" "sgd-1.5-$1/results/last.safetensors" \
        "swa-1-$1.safetensors" "swa-1.25-$1.safetensors" "swa-1.5-$1.safetensors" \
        "swa-$1/ckpt_$(printf %04d "$5").safetensors"
}

# landscapes RUN FIRST MIDDLE LAST: what surrounds the optima of the first of $SEEDS of an experiment with `budgets` (figures 1,
# 3, 4 and 5 of Izmailov et al. 2018): rays from the average and from SGD, in absolute and in relative distance; the plane of three
# snapshots, epochs FIRST, MIDDLE and LAST, and that of where both runs began and ended; the line between the ends.
landscapes() {
    seed=${SEEDS%% *}
    cd "$base/$1"
    snapshot() { echo "swa-$seed/ckpt_$(printf %04d "$1").safetensors"; }
    swa=swa-1.5-$seed.safetensors swa_b=swa-1-$seed.safetensors
    sgd=sgd-$seed/results/last.safetensors sgd_more=sgd-1.5-$seed/results/last.safetensors
    draw rays rays "$swa" "$sgd" "$sgd_more"
    draw rays-norm rays "$swa" "$sgd" "$sgd_more" --units norm
    draw snapshots plane "$(snapshot "$2")" "$(snapshot "$3")" "$(snapshot "$4")" --project "$swa"
    draw ends plane "$(snapshot "$2")" "$swa_b" "$sgd" --project "$swa"
    draw line line "$swa" "$sgd"
}

# draw NAME COMMAND MODEL…: a picture and its figures.
draw() {
    out=$1
    shift
    [ ! -e "$results/$out.json" ] || return 0
    swa-landscape "$@" --data "$data" $pixels --threads "$PROCESSES" --wd 5e-4 --resume "$states/$out.state" \
        -o "$states/$out.json" --svg "$states/$out.svg" --force -q
    keep "$states/$out.svg" "$out.svg"
    keep "$states/$out.json" "$out.json"
}

# The whole experiment; or, where xargs asks for it, one run or what follows the runs of a seed.
experiment() {
    case ${3-} in
    run) shift 3 && train_one "$@" ;;
    done) seed_done "$4" ;;
    *)
        runs | while read -r line; do
            for seed in $SEEDS; do echo "$seed $line" | sed "s/@/$seed/g"; done
        done | xargs -P "$PROCESSES" -L 1 sh "$0" "$data" "$base" run
        printf '%s\n' $SEEDS | xargs -P "$PROCESSES" -L 1 sh "$0" "$data" "$base" done
        ;;
    esac
}
