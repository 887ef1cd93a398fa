#!/usr/bin/env python3
"""The documentation: generated pages are current, links lead somewhere, the program takes the command lines.

python3 tests/docs/docs_test.py build/cai
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = pathlib.Path(sys.argv.pop()).resolve()
GENERATED = {"cli.md", "config.md"}
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
USER_PAGES = [page for page in PAGES if "dev" not in page.parts and page.name not in GENERATED]
SOURCES = ["src", "include", "scripts", "configs", "constitutions", "tests", "bench", "cmake"]
EVERYWHERE = {"--json": "", "--quiet": "", "--verbose": "", "--help": "", "--version": ""}


def cai(*words):
    return subprocess.run([BINARY, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)


def lines_of(page):
    """(number, line, whether it is code) of each line."""
    code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = line.lstrip().startswith("```")
        yield number, line, code or fence
        code = code != fence


def where(page, number):
    return f"{page.relative_to(ROOT)}:{number}"


def anchors_of(page):
    found, seen = set(), {}
    for _, line, code in lines_of(page):
        heading = re.match(r"#+ (.*)", line)
        if code or not heading:
            continue
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
        anchor = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", words).strip())
        again = seen.get(anchor, 0)
        seen[anchor] = again + 1
        found.add(anchor if again == 0 else f"{anchor}_{again}")
    return found


def links_of(page):
    for number, line, code in lines_of(page):
        if code:
            continue
        for in_text, in_tag in re.findall(r"\]\(([^)\s]+)\)|(?:src|href|srcset)=\"([^\"]+)\"", line):
            if not re.match(r"[a-z]+:", in_text or in_tag):
                yield number, in_text or in_tag


def words_of(line):
    """The words of a line of shell, up to the first |, >, && or the like."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words = list(lexer)
    end = next((at for at, word in enumerate(words) if word and word[0] in "|&;<>"), len(words))
    return words[:end]


def commands():
    """(place, words after "cai") of each line of code that calls cai."""
    for page in USER_PAGES:
        joined = place = ""
        for number, line, code in lines_of(page):
            line = re.sub(r"^\s*\$ ", "", line).strip()
            if not joined:
                place = where(page, number)
            if not joined and not (code and re.match(r"(scripts/)?cai ", line)):
                continue
            joined += " " + line
            if joined.endswith("\\"):
                joined = joined[:-1]
            else:
                yield place, words_of(joined)[1:]
                joined = ""


class Command:
    """What the help of a command says that it takes."""

    helps = {}

    def __init__(self, name):
        if name not in Command.helps:
            Command.helps[name] = cai(*name.split(), "--help")
        done = Command.helps[name]
        self.exists = done.returncode == 0
        text = done.stdout.partition("\nExamples:")[0]
        options = text.partition("\nOptions:")[2]
        self.flags = EVERYWHERE | dict(re.findall(r"^  (?:-\w,)?(--[a-z-]+)( (?! )\S+)?", options, re.M))
        positionals = text.partition("\nPositionals:")[2].partition("\nOptions:")[0]
        self.takes = len(re.findall(r"^  \S", positionals, re.M))


def problem_of(words):
    """What is wrong with a command line, or ""."""
    parts = 2 if words[0] in ("constitution", "config", "registry", "key", "guard") and not words[1].startswith("-") else 1
    name, rest = " ".join(words[:parts]), words[parts:]
    if name in ("help", "version"):
        return cai(*words).stderr
    command = Command(name)
    if not command.exists:
        return f"no command {name}"
    arguments, settings = [], []
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("-"):
            arguments.append(flag)
        elif flag not in command.flags and flag not in ("-q", "-v", "-h"):
            return f"{name} has no {flag}"
        elif command.flags.get(flag):
            value = value if equals else rest.pop(0)
            if flag in ("--set", "--seed", "--iterations"):
                settings += [flag, value] if flag == "--set" else ["--set", f"{flag[2:]}={value}"]
            if flag == "--config" and value.startswith("configs/"):
                settings += [flag, value]
    if len(arguments) > command.takes:
        return f"{name} takes {command.takes} arguments, not {arguments}"
    if name == "config explain":
        return cai(*words).stderr
    return cai("config", "show", *settings).stderr if settings else ""


class Docs(unittest.TestCase):
    maxDiff = None

    def test_generated_pages_are_current(self):
        done = subprocess.run(
            [sys.executable, "scripts/docs.py", "--check", BINARY], cwd=ROOT, capture_output=True, text=True
        )
        self.assertEqual(done.stderr, "")

    def test_links_lead_to_files_and_headings(self):
        wrong = []
        for page in PAGES:
            for number, link in links_of(page):
                name, _, anchor = link.partition("#")
                file = (page.parent / name).resolve() if name else page
                if not file.exists():
                    wrong.append(f"{where(page, number)}: no file {link}")
                elif anchor and anchor not in anchors_of(file):
                    wrong.append(f"{where(page, number)}: no heading {link}")
        self.assertEqual(wrong, [])

    def test_pages_that_sources_name_exist(self):
        files = [file for folder in SOURCES for file in (ROOT / folder).rglob("*") if file.is_file()]
        wrong = []
        for file in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "src/README.md", *files]:
            for name in re.findall(
                r"(?<![\w/.-])docs/[\w/-]+\.(?:md|svg|png)", file.read_text(errors="replace")
            ):
                if not (ROOT / name).exists():
                    wrong.append(f"{file.relative_to(ROOT)}: no file {name}")
        self.assertEqual(wrong, [])

    def test_shipped_files_that_pages_name_exist(self):
        wrong = []
        for page in USER_PAGES:
            for number, line, _ in lines_of(page):
                for name in re.findall(
                    r"(?<![\w/.-])(?:configs|constitutions|suites|scripts)/[\w/.-]*\w", line
                ):
                    if not (ROOT / name).exists():
                        wrong.append(f"{where(page, number)}: no file {name}")
        self.assertEqual(wrong, [])

    def test_lines_are_short(self):
        wrong = []
        for page in PAGES:
            for number, line, code in lines_of(page):
                if not code and page.name not in GENERATED and not line.startswith("|") and len(line) > 110:
                    wrong.append(f"{where(page, number)}: {len(line)} columns")
        self.assertEqual(wrong, [])

    def test_commands_are_taken(self):
        found = [(place, words, problem_of(list(words))) for place, words in commands()]
        self.assertEqual([f"{place}: {wrong.strip()}" for place, _, wrong in found if wrong], [])
        self.assertGreater(len(found), 40)

    def test_wrong_commands_are_seen(self):
        for line in [
            "trian",
            "train --nosuch",
            "train --set nosuch.field=1",
            "train --seed x",
            "verify a b c",
            "config explain nosuch",
            "constitution nosuch",
        ]:
            self.assertNotEqual(problem_of(line.split()), "", line)

    def test_settings_that_pages_name_exist(self):
        known = {field["name"] for field in json.loads(cai("config", "explain", "--json").stdout)}
        sections = {name.partition(".")[0] for name in known if "." in name}
        wrong = []
        for page in USER_PAGES:
            for number, line, _ in lines_of(page):
                for name in re.findall(r"`(?:--set )?([a-z]+\.[a-z_]+)(?:[=: ][^`]*)?`", line):
                    is_file = name.endswith((".jsonl", ".json", ".yaml", ".md", ".html"))
                    if name.partition(".")[0] in sections and name not in known and not is_file:
                        wrong.append(f"{where(page, number)}: no setting {name}")
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
