#!/usr/bin/env bash
# Runs parts of the bench of lanes on a GPU machine and leaves "$OUT"/lanes.h100.json, which begins as the committed one: each
# part with a limit of its own, so that one that hangs costs no other. `tools/gpu/figures.sh [SECONDS] PART...`; needs what
# enter.sh sets, COMMIT and OUT. The exit code is 1 where a part failed.
set -uo pipefail
: "${OUT:?the folder for the result}" "${ORT_LIB_DIR:?source tools/gpu/enter.sh first}" "${MODELS_DIR:?source tools/gpu/enter.sh first}"
limit=240
if [[ ${1:-} =~ ^[0-9]+$ ]]; then limit=$1; shift; fi
[[ $# -gt 0 ]] || { echo "usage: tools/gpu/figures.sh [SECONDS] PART..." >&2; exit 64; }
result="$OUT/lanes.h100.json"
[[ -f $result ]] || cp bench/results/lanes.h100.json "$result"
failed=0
for part in "$@"; do
  # SIGTERM reaches the processes that the part started, too: they give the device back.
  timeout -k 25 "$limit" node bench/dist/gpu/lanes.js "$result" "$part" ${FIGURES_FLAGS:-} >"$OUT/$part.figures.json" 2> >(tee "$OUT/$part.log" >&2)
  code=$?
  [[ $code -eq 0 ]] && continue
  echo "part $part ended with $code" >&2
  failed=1
  [[ $code -eq 1 ]] || sleep 20
done
exit $failed
