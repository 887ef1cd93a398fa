"""Every C++ file is as clang-format 14 writes it, and no line of C++ or JavaScript is longer than 110 columns."""

import pathlib
import shutil
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLUMNS = 110
FORMATTED = {".cpp", ".hpp"}


def files_of(*folders):
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file())


def clang_format():
    """The one that scripts/test installs, else one of the same version on the path."""
    for program in (ROOT / ".deps/format/bin/clang-format", shutil.which("clang-format")):
        if not program or not pathlib.Path(program).exists():
            continue
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        if " version 14." in said:
            return program
    sys.exit("no clang-format 14 found; scripts/test installs one into .deps/format")


class Format(unittest.TestCase):
    def test_cpp_is_as_clang_format_writes_it(self):
        sources = [p for p in files_of("src", "include", "tests") if p.suffix in FORMATTED]
        self.assertGreater(len(sources), 300)
        result = subprocess.run([clang_format(), "--dry-run", "-Werror", *sources], capture_output=True, text=True)
        wrong = sorted({line.split(":")[0] for line in result.stderr.splitlines() if "[-Wclang-format" in line})
        names = [str(pathlib.Path(p).relative_to(ROOT)) for p in wrong]
        self.assertEqual((result.returncode, names), (0, []), "run clang-format -i on these files")

    def test_the_check_sees_what_is_wrong(self):
        result = subprocess.run([clang_format(), "--dry-run", "-Werror", "--style=file", "--assume-filename=a.cpp"],
                                input="int  a ;\n", capture_output=True, text=True, cwd=ROOT)
        self.assertNotEqual(result.returncode, 0)

    def test_no_line_is_too_long(self):
        checked = [p for p in files_of("src", "include") if p.suffix in FORMATTED]
        checked += (ROOT / "web").glob("*.js")
        too_long = [f"{path.relative_to(ROOT)}:{number}"
                    for path in checked
                    for number, line in enumerate(path.read_text().splitlines(), 1)
                    if len(line) > COLUMNS and 'R"(' not in line]  # a pattern stays whole
        self.assertEqual(too_long, [])


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    unittest.main()
