#!/usr/bin/env python3
"""Includes point down only: a floor may use itself and the floors below, and the text column never sees torch.
No two headers define a type of the same name."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
below = {
    "base": "", "web": "base", "config": "base", "io": "base config", "data": "base config io", "release": "base config io data", "text": "base config io data",
    "model": "base config io", "engine": "base config io model", "train": "base config io model engine",
}
below["feedback"] = "base config io data text model engine"
below["stages"] = below["feedback"] + " train feedback web"
below["pipeline"] = below["stages"] + " stages"
below["cli"] = below["pipeline"] + " pipeline release"
tensor_headers = {"cai/model/llama.hpp", "cai/model/reward_model.hpp"}
tensor_floors = {"model", "engine", "train"}

problems, files = [], 0
for folder in ("include/cai", "src", "tests"):
    for file in sorted((root / folder).glob("*/*.?pp")):
        floor = file.parent.name
        if floor not in below:
            continue
        files += 1
        allowed = set(below[floor].split()) | {floor}
        for number, line in enumerate(file.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
            if not found:
                continue
            header, where = found[1], f"{file.relative_to(root)}:{number}"
            if header.startswith("cai/") and header.split("/")[1] not in allowed:
                problems.append(f"{where}: {floor} includes {header}, which is above it")
            if floor not in tensor_floors and (re.match(r"(torch|ATen|c10)/", header) or header in tensor_headers):
                problems.append(f"{where}: {floor} is of the text column and includes {header}")

# Two types of one name are one type to the linker: it takes either's destructor for both.
defined = {}
for header in sorted((root / "include/cai").glob("*/*.hpp")):
    text = header.read_text()
    if "namespace cai {" not in text:
        continue  # a namespace of its own
    for name in re.findall(r"^(?:struct|class) (\w+)(?: final)?\s*(?::[^;{]*)?\{", text, re.M):
        if name in defined:
            problems.append(f"{header.relative_to(root)}: {name} is also defined in {defined[name].relative_to(root)}")
        defined[name] = header
print("\n".join(problems) or f"{files} files, every include points down, {len(defined)} types of different names")
sys.exit(1 if problems or files < 20 else 0)
