# Sourced by scripts/setup.sh: finds or installs torch. scripts/wheels lists what is installed, by version and
# SHA-256.
#
# CAI_TORCH=FOLDER         use this torch: a virtual environment with torch, or an unpacked libtorch
# CAI_TORCH=index          use the package index's wheel, also where pip is offered one built for the CPU
# CAI_TORCH_SHA256=HASH    accept a torch wheel with this SHA-256 as well
# CAI_DEVICE=cpu|cuda      install what a run on this device needs; without it, the NVIDIA driver decides

torch_version=2.13.0
least_driver=580  # CUDA 13 needs this one or a newer one
driver_file=${driver_file:-/proc/driver/nvidia/version}

# torch_in FOLDER: the torch folder in a virtual environment or an unpacked libtorch; nothing if there is none.
torch_in() {
  local folder
  for folder in "$1"/lib/python3*/site-packages/torch "$1"; do
    [ -f "$folder/lib/libtorch_cpu.so" ] && [ -d "$folder/include/ATen" ] && echo "$folder" && return
  done
  return 0
}

# The folder of the torch in use, such as /home/me/cai/.deps/torch/lib/python3.11/site-packages/torch.
torch_folder() { torch_in "$PWD/.deps/torch"; }

# The version of the NVIDIA driver, such as 580.65.06; nothing without one.
nvidia_driver() {
  [ -r "$driver_file" ] || return 0
  grep -m 1 '^NVRM' "$driver_file" | grep -oE '[0-9]{3,}\.[0-9]+(\.[0-9]+)?' | head -n 1 || true
}

torch_device() {
  local driver
  case ${CAI_DEVICE:-} in
    cpu | cuda) echo "$CAI_DEVICE" && return ;;
    ?*) stop 2 "CAI_DEVICE is \"$CAI_DEVICE\"; accepted are cpu and cuda" ;;
  esac
  driver=$(nvidia_driver)
  if [ -z "$driver" ]; then
    echo cpu
  elif [ "${driver%%.*}" -ge $least_driver ]; then
    echo cuda
  else
    say "the NVIDIA driver $driver is older than $least_driver, which CUDA 13 needs: torch is installed for the CPU"
    echo cpu
  fi
}

# has_wheels LIST: whether all packages of scripts/wheels/LIST.txt are installed. pip writes INSTALLER when all
# else is there.
has_wheels() {
  local package packages
  packages=$(echo .deps/torch/lib/python3*/site-packages)
  for package in $(sed -nE 's/^([a-z0-9-]+)={2,3}([^ ]+).*/\1-\2/p' "scripts/wheels/$1.txt"); do
    [ -f "$packages/$(wheel_name "$package").dist-info/INSTALLER" ] || return 1
  done
}

# nvidia-cuda-runtime-13.0.96 -> nvidia_cuda_runtime-13.0.96
wheel_name() { sed -E 's/-([0-9][^-]*)$/=\1/; s/-/_/g; s/=/-/' <<<"$1"; }

wheels_mb() {  # LIST: megabytes to download and on disk
  case $1 in
    torch-cpu) echo 192 720 ;;
    torch-cuda) echo 527 1100 ;;
    cuda-cpu) echo 13 53 ;;
    cuda-gpu) echo 1784 2460 ;;
  esac
}

# install_wheels DESCRIPTION LIST...: those that are not complete yet.
install_wheels() {
  local name=$1 list lists=() sizes download=0 disk=0
  shift
  for list in "$@"; do
    ! has_wheels "$list" || continue
    lists+=("$list")
    sizes=($(wheels_mb "$list"))
    download=$((download + sizes[0])) disk=$((disk + sizes[1]))
  done
  [ ${#lists[@]} -gt 0 ] || return 0
  say "installing $name into .deps/torch: $download MB to download, $disk MB of disk"
  timed torch pip_install_wheels "${lists[@]}"
}

pip_install_wheels() {
  local list log=.deps/torch.log wanted=.deps/torch-wheels.txt got
  for list in "$@"; do
    cat "scripts/wheels/$list.txt"
  done >$wanted
  [ -z "${CAI_TORCH_SHA256:-}" ] ||
    sed -i -E "s/^(torch={2,3}[^ ]+)/\1 --hash=sha256:$CAI_TORCH_SHA256/" $wanted
  : >$log
  # --ignore-installed: pip would take a half-installed package for an installed one.
  reporting torch $log torch_pip install --retries 2 --timeout 30 --no-deps --no-compile --only-binary=:all: \
    --ignore-installed --require-hashes -r $wanted && return
  got=$(awk '$1 ~ /^[a-z0-9-]+==/ {name = $1} $1 == "Got" {print name, $2; exit}' $log)
  [ -z "$got" ] || unknown_wheel $got
  stop 1 "pip could not install torch (offline?): $(last_error $log) [whole output: $log]"
}

# unknown_wheel PACKAGE HASH
unknown_wheel() {
  case $1 in
    torch*)
      stop 1 "pip was given a wheel of $1 with a SHA-256 that scripts/wheels does not list. Do one of these:
  check where it comes from, and accept it:  CAI_TORCH_SHA256=$2 scripts/setup.sh
  use the wheel of the package index:        CAI_TORCH=index scripts/setup.sh
  use a torch of your own:                   CAI_TORCH=FOLDER scripts/setup.sh"
      ;;
    *)
      stop 1 "pip was given a wheel of $1 with the SHA-256 $2, not the one in scripts/wheels. Check the package
  index that pip uses: pip config list"
      ;;
  esac
}

torch_pip() { .deps/torch/bin/python -m pip --disable-pip-version-check "$@"; }

offers_cpu_wheel() {
  torch_pip index versions torch 2>/dev/null | grep -qE "[ ,]${torch_version//./\\.}\+cpu(,|$)"
}

fresh_torch_venv() {
  local python
  python=$(python_for_venvs) || exit
  rm -rf .deps/torch
  mkdir -p .deps
  "$python" -m venv .deps/torch || stop 1 "python3 -m venv .deps/torch failed"
}

# link_torch FOLDER: .deps/torch becomes a link to it, so that later calls use it too.
link_torch() {
  local folder
  folder=$(readlink -f -- "$1") && [ -d "$folder" ] || stop 2 "CAI_TORCH=$1: no such folder"
  [ -n "$(torch_in "$folder")" ] || stop 2 "CAI_TORCH=$1: no torch is there; expected lib/libtorch_cpu.so and \
include/ATen (libtorch), or lib/python3*/site-packages/torch (a virtual environment)"
  [ "$(readlink -f .deps/torch)" != "$folder" ] || return 0
  mkdir -p .deps
  rm -rf .deps/torch
  ln -s "$folder" .deps/torch
  say "using the torch in $folder"
}

need_torch() {
  local device
  case ${CAI_TORCH:-} in
    index) [ ! -L .deps/torch ] || rm .deps/torch ;;
    ?*)
      link_torch "$CAI_TORCH"
      return
      ;;
  esac
  if [ -L .deps/torch ]; then
    [ -n "$(torch_folder)" ] && return
    stop 2 ".deps/torch leads to $(readlink .deps/torch), where no torch is; remove it, or set CAI_TORCH=FOLDER"
  fi
  device=$(torch_device) || exit
  if [ "$device" = cuda ]; then
    has_wheels torch-cuda || fresh_torch_venv
    install_wheels "torch $torch_version for CUDA 13" torch-cuda cuda-cpu cuda-gpu
    return
  fi
  [ "${CAI_TORCH:-}" != index ] && has_wheels torch-cpu && return
  has_wheels torch-cuda || fresh_torch_venv
  if [ "${CAI_TORCH:-}" != index ] && ! has_wheels torch-cuda && offers_cpu_wheel; then
    install_wheels "torch $torch_version built for the CPU" torch-cpu
  else
    install_wheels "torch $torch_version built for CUDA, with what the CPU needs of it" torch-cuda cuda-cpu
  fi
}
