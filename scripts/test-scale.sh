#!/bin/sh
# Runs the scripts of docs/scale.md with the engines themselves: GNU parallel, Ray in a virtual environment, and Slurm on
# a cluster of one node that is started here. As root, with Debian's parallel, slurm-wlm and munge installed.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "test-scale: must be root: it starts munged, slurmctld and slurmd" >&2; exit 1; }
for program in parallel munged slurmctld slurmd sbatch; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || {
        echo "$program is missing: apt-get install parallel slurm-wlm munge" >&2
        exit 1
    }
done
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
chmod 755 "$work"
# The daemons that were started, the last one first, are gone before their folder is.
ended() {
    status=$?
    trap - EXIT HUP INT TERM
    for name in slurmd slurmctld munge; do
        pid=$(cat "$work/$name.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        tries=0
        while kill -0 "$pid" 2>/dev/null; do
            tries=$((tries + 1))
            [ $tries -lt 10 ] || { kill -9 "$pid" 2>/dev/null || :; break; }
            sleep 1
        done
    done
    [ $status = 0 ] || tail -n 20 "$work"/slurm*.log "$work"/munge/log >&2 2>/dev/null || :
    rm -rf "$work"
    exit $status
}
trap ended EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

python3 -m venv "$work/ray"
"$work/ray/bin/pip" install --quiet ray

# Slurm asks munge who is who.
mkdir -m 755 "$work/munge" "$work/state" "$work/spool"
dd if=/dev/urandom of="$work/munge/key" bs=1024 count=1 2>/dev/null
chmod 400 "$work/munge/key"
munged --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge.pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed"
cat >"$work/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$(hostname -s)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldPort=26817
SlurmdPort=26818
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
MinJobAge=3600
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
END
export SLURM_CONF="$work/slurm.conf"
slurmctld
slurmd
tries=0
until sinfo --noheader --format %T 2>/dev/null | grep -q idle; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || { echo "test-scale: Slurm has no idle node after a minute" >&2; exit 1; }
    sleep 1
done

SWA_TESTS_SCALE=1 PYTHON="$work/ray/bin/python" ${CARGO:-cargo} test --release --locked --test scale -- --nocapture
# The passes over data: Ray's script; Slurm's is run by a stand-in of sbatch.
PYTHON="$work/ray/bin/python" ${CARGO:-cargo} test --release --locked -p swa-torch --test parts -- script_of_the_document
