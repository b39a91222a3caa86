#!/usr/bin/env bash
# Measures all that needs a GPU, in order of worth, in at most nine minutes; run again, it goes on.
#
#   experiments/gpu_day.sh              on a machine with a GPU, with or without a network
#   experiments/gpu_day.sh --from TAR   go on from what an earlier machine has packed
#   experiments/gpu_day.sh --dry-run    every stage at toy size on the CPU, in less than a minute
#
# Results are in out/gpu_day, and packed after each stage into gpu_day.tar.gz there, or under $OUT.
# PYTHON: which to use, one that has torch. SECONDS_IN_ALL: other than nine minutes. PIECES=15M: the
# tar in pieces of that size, gpu_day.tar.gz.00 and so on; --from takes the name without the number.
set -uo pipefail
cd "$(dirname "$0")/.."

dry='' from='' only=()
while (($#)); do
  case $1 in
    --dry-run) dry=$1 ;;
    --from) from=${2:?--from needs a file}; shift ;;
    --stage) only=("${@:2}"); break ;;  # one of the functions below: how this calls itself
    *) echo "gpu_day: no option $1: --dry-run, --from TAR" >&2; exit 2 ;;
  esac
  shift
done

work=out/gpu_day device=cuda repeats=3 tokens=32
models=(qwen3-30b-a3b deepseek-v2-lite phi-mini-moe gpt-oss-20b)
if [[ $dry ]]; then
  work=out/gpu_day-dry-run device=cpu repeats=1 tokens=2
  models=(dry-run)
  export OMP_NUM_THREADS=1  # toys gain nothing from more
fi
work=$(realpath -m "${GPU_DAY:-$work}")
packed=${OUT:-$work}/gpu_day.tar.gz
all=${SECONDS_IN_ALL:-540}
python=${PYTHON:-python3}
[[ -z ${PYTHON:-} && -x .venv-test/bin/python ]] && python=.venv-test/bin/python
export PYTHONPATH="$work/site:$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
sim=("$python" -m prefetch_sim.experiments.cli)

gpu_tests() {
  local files
  mapfile -t files < <(grep -l 'mark\.gpu' tests/test_*.py)
  "$python" -m pytest -m gpu -rs -s -p no:cacheprovider "${files[@]}"
}

capture() {
  local folder=$work/model
  [[ -e $folder/prompts.jsonl ]] ||
    "$python" -m prefetch_sim.experiments.gpu_day.small_model "$folder" --device $device \
      ${dry:+--toy} || return
  "${sim[@]}" trace capture --model "$folder" --prompts "$folder/prompts.jsonl" \
    -o "$work/capture" --device $device --max-new-tokens $tokens --batch-size 4 --timing
}

calibrate() {
  if [[ $dry ]]; then  # what it writes, without the time that it takes
    "${sim[@]}" hardware calibrate -o "$work/machine.yaml" --force \
      --from tests/calibration/gpu_probe_cpu.json
  else
    mkdir -p "$work/store"
    "${sim[@]}" hardware calibrate -o "$work/machine.yaml" --force --device cuda \
      --storage "$work/store"
  fi
}

validate() {
  "${sim[@]}" validate "experiments/gpu_day/$1.yaml" --device $device --repeats $repeats \
    --hardware "$work/machine.yaml" --runtime "$work/machine.runtime.yaml" \
    -o "$work/validation/$1"
}

if ((${#only[@]})); then "${only[@]}"; exit; fi

mkdir -p "$work/done" "$(dirname "$packed")"
if [[ $from ]]; then cat "$from"* | tar -xzC "$work" || exit 2; fi
if compgen -G 'wheels/*.whl' >/dev/null && [[ ! -d $work/site ]]; then
  "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" wheels/*.whl || exit 2
fi
"$python" experiments/gpu_day/wheels.py || exit 2
if [[ ! $dry ]]; then
  "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    { echo 'gpu_day: torch sees no GPU here; --dry-run goes through all on the CPU' >&2; exit 2; }
  nvidia-smi -q >"$work/nvidia-smi.txt" 2>&1
fi

failed=0 left=0
pack() {  # what is large and made again is left out; written beside what is packed
  tar -czf "$work.part" -C "$work" --exclude=./site --exclude=./model --exclude=./store \
    --exclude='*/runs/outputs.npz' --exclude='gpu_day.tar.gz*' . || return
  rm -f "$packed"*
  if [[ ${PIECES:-} ]]; then
    split -d -b "$PIECES" "$work.part" "$packed." && rm "$work.part"
  else
    mv "$work.part" "$packed"
  fi
}

stage() {  # NAME LIMIT FUNCTION...: at most LIMIT seconds, once
  local name=$1 limit=$2 begun=$SECONDS rest=$((all - SECONDS)) code
  shift 2
  if [[ -e $work/done/$name ]]; then echo "$name: done before"; return; fi
  if ((rest < 20)); then echo "$name: no time left in this call"; left=1; return; fi
  # An interrupt, so that what is whole is kept; then by force.
  timeout --signal=INT --kill-after=10 $((limit < rest ? limit : rest)) \
    bash experiments/gpu_day.sh $dry --stage "$@" >"$work/$name.log" 2>&1
  code=$?
  case $code in
    0) touch "$work/done/$name"; echo "$name: done, $((SECONDS - begun)) s" ;;
    124 | 130 | 137) left=1; echo "$name: stopped after $((SECONDS - begun)) s; run again to go on" ;;
    *) failed=1; echo "$name: failed ($code): $(tail -n 1 "$work/$name.log")" ;;
  esac
  pack
}

stage tests 120 gpu_tests
stage capture 120 capture
stage calibrate 150 calibrate
if [[ -e $work/done/calibrate ]]; then
  for model in "${models[@]}"; do stage "validate-$model" 240 validate "$model"; done
fi
pack
echo "results: $(du -h "$packed"* | tr '\t\n' '  ')"
if ((failed)); then exit 1; fi
if ((left)); then echo 'some is left: run it again'; exit 3; fi
