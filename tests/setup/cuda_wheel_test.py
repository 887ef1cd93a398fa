#!/usr/bin/env python3
"""A CUDA build of torch needs no CUDA toolkit: configures, links and runs against its wheel with every toolkit hidden.

Always on a wheel folder made up here, whose libraries need what those of torch 2.13.0 for CUDA 13 need; and on a real
wheel too, where one is: $CAI_CUDA_WHEEL (a virtual environment), .deps/cuda-wheel, or the torch of this build.
"""
import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai").resolve().parent
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOLKITS = ["/usr/local/cuda*", "/opt/cuda*", "/usr/lib/cuda*", "/usr/lib/nvidia-cuda-toolkit", "/usr/bin/nvcc",
            "/usr/include/cuda.h", "/usr/include/cuda_runtime.h", "/usr/lib/*/libcudart*", "/usr/lib/*/libcupti*"]
# What libtorch_cuda.so of the wheel needs and a set-up for the CPU does not install.
GPU_ONLY = ["libcusparse.so.12", "libcufft.so.12", "libcufile.so.0", "libcusparseLt.so.0", "libnccl.so.2", "libcurand.so.10",
            "libcublas.so.13", "libcublasLt.so.13", "libcudnn.so.9", "libnvrtc.so.13"]


def toolkit_paths():
    """Files and folders of CUDA toolkits on this machine, each once, none inside another."""
    found = {path for pattern in TOOLKITS for path in glob.glob(pattern)}
    for folder in os.environ.get("PATH", "").split(":"):
        nvcc = os.path.join(folder, "nvcc")
        if os.access(nvcc, os.X_OK):
            found.add(nvcc)
            found.add(os.path.dirname(os.path.dirname(os.path.realpath(nvcc))))
    found |= {os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.path.isdir(os.environ.get(name, ""))}
    real = {os.path.realpath(path) for path in found} | {path for path in found if not os.path.islink(path)}
    return sorted(path for path in real if path not in ("/", "/usr", "/usr/local"))


def environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CUDA", "LD_LIBRARY_PATH", "CMAKE_"))}
    return {**kept, "LC_ALL": "C"}


def namespace():
    """How to start a command in a mount namespace of its own; None where the system does not allow it."""
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return None


def without_toolkit(command):
    """Runs a command where no CUDA toolkit can be found."""
    mounts = "".join(f"mount --bind {'$empty' if os.path.isdir(path) else '/dev/null'} {path} || exit 99\n"
                     for path in toolkit_paths())
    script = f"empty=$(mktemp -d)\n{mounts}exec \"$@\""
    return subprocess.run([*namespace(), "bash", "-c", script, "bash", *map(str, command)], capture_output=True, text=True,
                          env=environment(), timeout=600)


def library(path, needs=(), rpath="$ORIGIN/../../nvidia/cu13/lib:$ORIGIN", source=""):
    """Makes a shared library that needs others, and finds them as those of the wheel do: by RPATH."""
    command = ["g++", "-shared", "-fPIC", "-x", "c++", "-o", path, "-", f"-Wl,-soname,{path.name}", "-x", "none",
               "-Wl,--no-as-needed,--disable-new-dtags,--allow-shlib-undefined", f"-Wl,-rpath,{rpath}", *needs]
    subprocess.run(list(map(str, command)), input=source, text=True, check=True)


def made_up_wheel(site):
    """The layout of torch 2.13.0 for CUDA 13 after a set-up for the CPU: no GPU library is there."""
    torch, lib, cuda = site / "torch", site / "torch/lib", site / "nvidia/cu13/lib"
    headers = torch / "include/ATen"
    for folder in (lib, cuda, headers, torch / "include/torch/csrc/api/include", torch / "share/cmake/Torch"):
        folder.mkdir(parents=True)
    (torch / "version.py").write_text("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n")
    (headers / "Small.h").write_text("int sum_of_ones(int n);\n")
    # As torch's own file does, this one asks for a whole CUDA toolkit.
    (torch / "share/cmake/Torch/TorchConfig.cmake").write_text("find_package(CUDAToolkit REQUIRED)\n")
    library(cuda / "libcudart.so.13")
    library(cuda / "libcupti.so.13", source='extern "C" int cuptiFinalize() { return 0; }')
    library(lib / "libc10.so")
    library(lib / "libgomp.so.1")
    library(lib / "libtorch_cpu.so", [lib / "libc10.so", lib / "libgomp.so.1", cuda / "libcupti.so.13", cuda / "libcudart.so.13"],
            source='extern "C" int cuptiFinalize();\nint sum_of_ones(int n) { return n + cuptiFinalize(); }')
    with tempfile.TemporaryDirectory() as gone:
        for name in GPU_ONLY:
            library(pathlib.Path(gone) / name, source=f"int of_{name.split('.')[0]}() {{ return 0; }}")
        calls = "".join(f"int of_{name.split('.')[0]}();\n" for name in GPU_ONLY)
        body = " + ".join(f"of_{name.split('.')[0]}()" for name in GPU_ONLY)
        library(lib / "libtorch_cuda.so", [lib / "libtorch_cpu.so", *(pathlib.Path(gone) / name for name in GPU_ONLY)],
                source=f"{calls}int on_gpu() {{ return {body}; }}")
    library(lib / "libtorch.so", [lib / "libtorch_cpu.so", lib / "libtorch_cuda.so"])
    return torch, '#include <ATen/Small.h>\n#include <cstdio>\nint main() { std::printf("%d\\n", sum_of_ones(6)); }\n'


def real_wheels():
    candidates = [os.environ.get("CAI_CUDA_WHEEL", ""), str(ROOT / ".deps/cuda-wheel")]
    folders = [path for venv in candidates if venv for path in glob.glob(venv + "/lib/python3*/site-packages/torch")]
    cache = BUILD / "CMakeCache.txt"
    if cache.exists():
        folders += re.findall(r"^CAI_TORCH_DIR:PATH=(.+)$", cache.read_text(), re.M)
    for folder in map(pathlib.Path, folders):
        if (folder / "lib/libtorch_cuda.so").exists():
            return folder
    return None


REAL_SOURCE = """#include <ATen/ops/ones.h>
#include <ATen/ops/sum.h>
#include <cstdio>
int main() { std::printf("%d\\n", at::sum(at::ones({2, 3})).item<int>()); }
"""
PROJECT = """cmake_minimum_required(VERSION 3.25)
project(small CXX)
set(CMAKE_CXX_STANDARD 20)
{find}
add_executable(small small.cpp)
target_link_libraries(small PRIVATE {libraries})
"""


@unittest.skipIf(namespace() is None, "mount namespaces are not allowed here, so CUDA toolkits cannot be hidden")
class CudaWheel(unittest.TestCase):
    def setUp(self):
        keeper = tempfile.TemporaryDirectory()
        self.addCleanup(keeper.cleanup)
        self.folder = pathlib.Path(keeper.name)

    def small(self, name, torch, source, own=True):
        """Configures and builds a small program; returns the failed step, or the last one with the program's path."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "small.cpp").write_text(source)
        find = f"include({ROOT}/cmake/torch.cmake)" if own else "find_package(Torch REQUIRED)"
        (folder / "CMakeLists.txt").write_text(PROJECT.format(find=find, libraries="cai::torch" if own else "${TORCH_LIBRARIES}"))
        result = without_toolkit(["cmake", "-S", folder, "-B", folder / "build", "-G", "Ninja", f"-DCAI_TORCH_DIR={torch}",
                                  f"-DCMAKE_PREFIX_PATH={torch}/share/cmake", "-DCMAKE_BUILD_TYPE=Release"])
        if result.returncode == 0:
            result = without_toolkit(["cmake", "--build", folder / "build"])
        return result, folder / "build/small"

    def check(self, torch, source):
        # The check itself: with toolkits hidden, torch's own CMake files find none.
        result, _ = self.small("by-torch", torch, source, own=False)
        self.assertNotEqual(result.returncode, 0, "a CUDA toolkit was found although all were to be hidden")
        self.assertRegex(result.stdout + result.stderr, r"CUDA")
        result, program = self.small("by-cai", torch, source)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        result = without_toolkit([program])
        self.assertEqual((result.returncode, result.stdout), (0, "6\n"), result.stderr)
        needed = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
        libraries = set(re.findall(r"NEEDED.*\[(.+)\]", needed))
        self.assertIn("libtorch_cpu.so", libraries)
        self.assertFalse([name for name in libraries if re.search(r"cuda|cudart|cupti|^libtorch\.so", name)], libraries)
        self.needs_the_two(torch, source)
        self.whole_project(torch)

    def needs_the_two(self, torch, source):
        """Without NVIDIA's two small packages the program cannot be linked: the wheel is what it claims to be."""
        bare = self.folder / "bare/torch"
        (bare / "lib").mkdir(parents=True)
        for name in ("version.py", "include"):
            (bare / name).symlink_to(torch / name)
        for path in (torch / "lib").glob("lib*.so*"):
            (bare / "lib" / path.name).symlink_to(path)
        result, _ = self.small("without", bare, source)
        self.assertNotEqual(result.returncode, 0, "linked without libcupti and libcudart")
        self.assertIn("libcupti.so.13", result.stdout + result.stderr)

    def whole_project(self, torch):
        build = self.folder / "whole"
        result = without_toolkit(["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", f"-DCAI_TORCH_DIR={torch}", "-DCAI_TESTS=OFF"])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        link = re.search(r"^build cai-run: .*?(?=\n\n)", (build / "build.ninja").read_text(), re.M | re.S).group()
        self.assertIn(f"{torch}/lib/libtorch_cpu.so", link)
        self.assertIn(f"{torch}/lib/libc10.so", link)
        self.assertNotRegex(link, r"libtorch\.so|torch_cuda|cudart|cupti")

    def test_a_made_up_wheel(self):
        self.check(*made_up_wheel(self.folder / "site-packages"))

    def test_b_real_wheel(self):
        torch = real_wheels()
        if torch is None:
            self.skipTest("no wheel of torch for CUDA is here; only the made-up one was checked")
        print(f"checked the wheel in {torch}")
        self.check(torch, REAL_SOURCE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
