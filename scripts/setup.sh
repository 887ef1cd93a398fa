#!/usr/bin/env bash
# Sets cai up in this checkout: Debian packages, torch (scripts/torch.sh), the default model, and the build.
# Called by itself it does all of that; scripts/cai, scripts/test and others source it for its functions.
# Every step is skipped when its result is there, and an interrupted step is done again.
# pip and apt-get keep the settings of the machine (mirrors, proxies).

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  cd -- "$(dirname -- "$(readlink -f -- "$0")")/.."
  [ $# -eq 0 ] || { echo "usage: scripts/setup.sh" >&2; exit 2; }
fi

model_file=SmolLM2-135M-Instruct.Q4_1.gguf

build_packages="g++ cmake ninja-build python3-venv pkg-config nlohmann-json3-dev libsimdjson-dev
  libyaml-cpp-dev libcli11-dev libspdlog-dev libsentencepiece-dev libpcre2-dev libutf8proc-dev libssl-dev
  libcurl4-openssl-dev libzstd-dev zlib1g-dev"
test_packages="libgtest-dev librapidcheck-dev jq openssl"

say() { printf 'set-up: %s\n' "$*" >&2; }
stop() { printf 'set-up: %s\n' "$2" >&2; exit "$1"; }

# timed NAME COMMAND...: runs a step and says how long it took.
timed() {
  local name=$1 begin=$SECONDS
  shift
  "$@"
  say "$name: done in $((SECONDS - begin)) s"
}

# reporting NAME LOG COMMAND...: runs a command with its output in LOG; says every 30 seconds how far it is.
reporting() {
  local name=$1 log=$2 reporter status=0
  shift 2
  report_progress "$name" "$log" &
  reporter=$!
  "$@" >>"$log" 2>&1 </dev/null || status=$?
  kill $reporter 2>/dev/null && wait $reporter 2>/dev/null || true
  return $status
}

# Ends with this shell. Its sleep holds neither the caller's output nor the lock (9).
report_progress() {
  local begin=$SECONDS steps
  while sleep 30 >/dev/null 2>&1 9>&-; do
    kill -0 $$ 2>/dev/null || return 0
    steps=$(grep -oE '^\[[0-9]+/[0-9]+\]' "$2" | tail -n 1 | tr -d '[]') || true
    say "$1: ${steps:+${steps/\// of } steps, }$((SECONDS - begin)) s so far"
  done
}

# The last line that a tool said about its failure; its whole output stays in the file.
last_error() { grep -iE 'error|could not|unable|fail' "$1" | tail -n 1 | cut -c1-300; }

missing_packages() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      printf '%s ' "$package"
  done
}

need_packages() {
  local missing log
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system: these packages, or what they are called here, have to be there: $(echo "$@")"
    return
  fi
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    say "Debian packages are missing; install them and call again:"
    echo "sudo apt-get install -y --no-install-recommends $missing" >&2
    exit 2
  fi
  say "installing Debian packages: $missing"
  mkdir -p .deps
  log=.deps/apt.log
  export DEBIAN_FRONTEND=noninteractive
  if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null
  then
    stop 1 "apt-get could not install them (offline?): $(last_error "$log") [whole output: $log]"
  fi
}

python_for_venvs() {
  local python
  for python in /usr/bin/python3 python3; do
    if "$python" -c 'import venv, ensurepip' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  stop 2 "no python3 with venv found; install it: sudo apt-get install -y --no-install-recommends python3-venv"
}

# make_venv FOLDER REQUIREMENT...: a virtual environment with these packages. FOLDER/complete is written last.
make_venv() {
  local folder=$1 python log
  shift
  python=$(python_for_venvs) || exit
  rm -rf "$folder"
  mkdir -p .deps
  log=$folder.log
  if ! { "$python" -m venv "$folder" && "$folder/bin/python" -m pip --disable-pip-version-check install \
    --retries 2 --timeout 30 "$@"; } >"$log" 2>&1; then
    stop 1 "pip could not install $* (offline?): $(last_error "$log") [whole output: $log]"
  fi
  echo "$*" >"$folder/complete"
}

need_reference() {
  local packages
  packages=$(echo .deps/reference/lib/python3*/site-packages)
  [ -d "$packages/transformers-5.23.0.dist-info" ] &&
    [ -d "$packages/llama_cpp_python-0.3.36.dist-info" ] && [ -d "$packages/peft-0.21.2.dist-info" ] &&
    [ -d "$packages/model_signing-1.1.1.dist-info" ] && return
  say "installing the reference implementations into .deps/reference (compiles llama.cpp: five minutes)"
  timed reference make_venv .deps/reference "torch==$torch_version" transformers==5.23.0 tokenizers gguf \
    sentencepiece numpy "llama-cpp-python[server]==0.3.36" peft==0.21.2 model-signing==1.1.1 pyopenssl
}

# Debian 12's clang-format, two megabytes from the package index: tests/setup/format_test.py runs it.
need_format() {
  [ -f .deps/format/complete ] || timed format make_venv .deps/format clang-format==14.0.6
}

# What cai is measured against. TRL 0.23.1 is the last line with PPO, and needs the transformers of its time.
need_peers() {
  if ! [ -f .deps/peers/complete ]; then
    say "installing the peers into .deps/peers (llama.cpp is compiled: about five minutes)"
    timed peers make_venv .deps/peers "torch==$torch_version" transformers==5.23.0 trl==1.16.0 \
      llama-cpp-python==0.3.36 matplotlib==3.10.8
  fi
  if ! [ -f .deps/ppo-peers/complete ]; then
    timed ppo-peers make_venv .deps/ppo-peers "torch==$torch_version" transformers==4.57.1 trl==0.23.1
  fi
}

need_model() { scripts/fetch-model .deps/models >/dev/null; }

# A compiler of torch headers takes up to 2 GiB.
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(($(awk '/MemAvailable/ {print $2}' /proc/meminfo) / 2097152))
  echo $((memory < 1 ? 1 : memory < cores ? memory : cores))
}

# build_program TARGET CMAKE_ARGUMENT...
build_program() {
  local target=$1 log=build/build.log
  shift
  mkdir -p build
  : >"$log"
  if ! cmake -S . -B build -G Ninja -DCAI_TORCH_DIR="$(torch_folder)" "$@" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    stop 1 "cmake failed [whole output: $log]"
  fi
  if [ -t 2 ]; then
    ninja -C build -j "$(build_jobs)" "$target" >&2 || stop 1 "the build failed"
  elif ! reporting build "$log" ninja -C build -j "$(build_jobs)" "$target"; then
    grep -E 'FAILED: |error: |undefined reference|ninja: ' "$log" | cut -c1-300 | head -n 20 >&2
    stop 1 "the build failed [whole output: $log]"
  fi
}

# Names, sizes and times of all that the build depends on: a cheap stand-in for its content.
sources_fingerprint() {
  { find CMakeLists.txt cmake scripts/*.sh scripts/wheels src include web "$(torch_folder)/lib/libc10.so" -type f \
    -printf '%p %s %T@\n' 2>/dev/null || true; } | LC_ALL=C sort | cksum
}

is_built() { [ -x build/cai ] && [ "$(cat build/cai.sources 2>/dev/null)" = "$(sources_fingerprint)" ]; }

build_cai() {
  local sources tests=()
  sources=$(sources_fingerprint)
  is_built && return
  say "building cai (12 minutes on two cores the first time)"
  # Tests stay as they were configured: scripts/test turns them on.
  [ -f build/CMakeCache.txt ] || tests=(-DCAI_TESTS=OFF)
  timed build build_program cai -DCMAKE_BUILD_TYPE=Release "${tests[@]}"
  echo "$sources" >build/cai.sources
}

# One set-up at a time in this checkout.
lock_setup() {
  mkdir -p .deps
  exec 9>.deps/lock
  flock -n 9 || { say "another set-up is at work here; waiting for it"; flock 9; }
}

set_up() {
  lock_setup
  need_packages $build_packages
  need_torch
  need_model
  build_cai
  exec 9>&-
}

. scripts/torch.sh

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set_up
  say "cai is ready: scripts/cai --help"
fi
