#!/usr/bin/env bash
# Publishes a run, follows it, loses its connection and resumes: bash 4.4 and curl alone.
#
#   bash curl.sh [ADDRESS-OF-THE-EDGE]
#
# TESTCAST_TOKEN_FILE names a file with a token, where the edge asks who its clients are.
set -euo pipefail
edge="${1:-http://127.0.0.1:8000}"
work="$(mktemp -d)"
trap 'rm -rf "$work"; [[ -z "$(jobs -p)" ]] || kill $(jobs -p) 2>/dev/null || true' EXIT
: >"$work/curlrc"
if [[ -n "${TESTCAST_TOKEN_FILE:-}" ]]; then # in a file: every user of a machine sees the arguments of commands
  (umask 077 && printf 'header = "Authorization: Bearer %s"\n' "$(<"$TESTCAST_TOKEN_FILE")" >"$work/curlrc")
fi

# call METHOD JSON: prints the answer. What is sent again has the same effect, so curl may try again.
call() {
  curl --config "$work/curlrc" -sS --fail-with-body --retry 6 --retry-connrefused --max-time 30 \
    -H 'Content-Type: application/json' --data "$2" "$edge/rpc/$1"
}

# field NAME JSON: the first text or number of this name.
field() {
  [[ "$2" =~ \"$1\":\"?([^\",}]*) ]] && printf '%s' "${BASH_REMATCH[1]}"
}

# event TYPE MESSAGE [FIELDS]: an event as JSON.
event() {
  printf '{"type":"%s","message":"%s","timestamp":%s000%s}' "$1" "$2" "$(date +%s)" "${3:+,$3}"
}

# publish EVENT…: stores a batch. `afterSeq` and a key of its own make it safe to send the batch again.
publish() {
  local IFS=, answer
  batch=$((batch + 1))
  answer="$(call publishEvents \
    "{\"testId\":\"$test_id\",\"key\":\"curl-$batch\",\"afterSeq\":$head,\"events\":[$*]}")"
  head="$(field seq "$answer")"
}

# -- a run, and six more events of it in the background ---------------------------------------------------------------
made="$(curl --config "$work/curlrc" -sS --fail-with-body -H 'Content-Type: application/json' \
  --data '{"title":"A run by curl","labels":{"by":"curl"}}' "$edge/rpc/createRun")"
test_id="$(field testId "$made")" head="$(field seq "$made")" batch=0
echo "$edge/tests/$test_id"
(
  publish "$(event status 'Loading' '"status":"running","phase":"phase1"')"
  publish "$(event progress one)" "$(event progress two)"
  publish "$(event progress three)"
  publish "$(event progress four)"
  publish "$(event complete Done '"data":{"score":80}')"
) &
publisher=$!
expected=(Started Loading one two three four Done)

# -- follow it: each event once, whatever happens to the connection ----------------------------------------------------
position="" seen=() seqs=() streams=0 cut="" ended="" delay=1
while [[ -z "$ended" ]]; do
  streams=$((streams + 1))
  # The last line is a comment of the stream's kind, with the status of the answer.
  exec 3< <(exec curl --config "$work/curlrc" -sSN --speed-limit 1 --speed-time 35 -w '\n:%{http_code}\n' \
    -H 'Accept: text/event-stream' ${position:+-H "Last-Event-ID: $position"} "$edge/tests/$test_id/events" 2>&1)
  stream=$! id="" kind="" data="" status="" said=""
  while [[ -z "$ended" ]] && IFS= read -r line <&3; do
    case "$line" in
      'id: '*) id="${line#id: }" ;;
      'event: '*) kind="${line#event: }" ;;
      'data: '*) data="${line#data: }" ;;
      ':204') ended=1 ;; # the position is the end of a run that has ended
      '{'*) said="$line" ;; # a refusal, and no stream
      ':'[0-9]*) status="${line#:}" ;;
      '')
        if [[ -n "$data" && -z "$kind" ]]; then # a message without a name is an event of the run
          position="$id" delay=1
          seen+=("$(field message "$data")") seqs+=("$(field seq "$data")")
          echo "  $position  ${seen[-1]}"
          if [[ -z "$cut" && ${#seen[@]} -eq 3 ]]; then
            echo "  -- the connection is cut"
            cut=1
            kill "$stream"
            break
          fi
        elif [[ "$kind" == goodbye && "$(field reason "$data")" == ended ]]; then
          ended=1
        fi
        kind="" data=""
        ;;
    esac
  done
  exec 3<&-
  kill "$stream" 2>/dev/null || true
  case "$status" in
    '' | 000 | 200 | 408 | 429 | 5??) ;;
    *)
      echo "the edge refuses the stream: HTTP $status $said" >&2
      exit 1
      ;;
  esac
  if [[ -z "$ended" && ${#seen[@]} -lt ${#expected[@]} ]]; then
    sleep "$delay"
    delay=$((delay < 16 ? delay * 2 : 30))
  fi
done
wait "$publisher"

# -- each event once, in order ------------------------------------------------------------------------------------------
if [[ "${seen[*]}" != "${expected[*]}" ]]; then
  echo "expected: ${expected[*]}"
  echo "     got: ${seen[*]}"
  exit 1
fi
for ((index = 1; index < ${#seqs[@]}; index++)); do
  ((seqs[index] > seqs[index - 1])) || { echo "out of order: ${seqs[*]}" && exit 1; }
done
echo "${#seen[@]} events over $streams streams: each once, in order"
