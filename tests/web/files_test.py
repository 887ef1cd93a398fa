#!/usr/bin/env python3
"""The files of web/ are sound: HTML whose elements close and whose labels and scripts find what they name, CSS whose braces
match, JavaScript that parses, and nothing that asks another machine for anything."""
import html.parser
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

WEB = pathlib.Path(__file__).resolve().parents[2] / "web"
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(html.parser.HTMLParser):
    """Collects ids, names that must be ids, and complaints."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.asked, self.problems = [], set(), set(), []
        self.feed(text)
        self.problems += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if given.get("id") in self.ids:
            self.problems.append(f"id {given['id']} repeats")
        if "id" in given:
            self.ids.add(given["id"])
        self.asked |= {given[name].lstrip("#") for name in ("for", "href") if name in given and not given[name].startswith("data:")}
        self.problems += [f"{tag} has {name}" for name in given if name.startswith("on") or name in ("style", "src")]

    def handle_startendtag(self, tag, attributes):
        if tag not in VOID:
            self.problems.append(f"<{tag} /> closes nothing in HTML")
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at line {self.getpos()[0]} closes another element")


def texts(ending):
    found = sorted(WEB.glob("*" + ending))
    assert found, WEB
    return [(path, path.read_text()) for path in found]


class WebFiles(unittest.TestCase):
    def test_html_is_sound_and_allows_no_inline_code(self):
        for path, text in texts(".html"):
            page = Page(text)
            self.assertEqual(page.problems, [], path)
            self.assertLessEqual(page.asked, page.ids, path)
            self.assertTrue(text.startswith("<!doctype html>"), path)
            policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]*)"', text)[1]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)

    def test_a_broken_page_is_found(self):
        for text in ["<p><b></p>", "<p>", "<a href='#x' onclick='y()'></a>", "<div />", "<p id=a><p id=a>"]:
            self.assertNotEqual(Page(text).problems, [], text)

    def test_css_braces_match(self):
        for path, text in texts(".css"):
            plain = re.sub(r'/\*.*?\*/|"[^"]*"', "", text, flags=re.S)
            depth = 0
            for number, line in enumerate(plain.splitlines(), 1):
                depth += line.count("{") - line.count("}")
                self.assertIn(depth, (0, 1, 2), f"{path}:{number}")
            self.assertEqual(depth, 0, path)
            used, declared = set(re.findall(r"var\((--\w+)\)", plain)), set(re.findall(r"^\s*(--\w+):", plain, flags=re.M))
            self.assertEqual(used, declared, path)

    def test_dark_colours_replace_all_light_ones(self):
        for path, text in texts(".css"):
            light, dark = re.findall(r":root \{(.*?)\}", text, flags=re.S)
            self.assertEqual(set(re.findall(r"--\w+", light)), set(re.findall(r"--\w+", dark)), path)

    def test_scripts_name_ids_of_their_page(self):
        for path, text in texts(".js"):
            ids = Page(path.with_suffix(".html").read_text()).ids
            for name in re.findall(r'\$\("(\w+)"\)|getElementById\("(\w+)"\)', text):
                self.assertIn("".join(name), ids, path)
            self.assertNotRegex(text, r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path)

    @unittest.skipUnless(shutil.which("node"), "no node")
    def test_scripts_parse(self):
        for path, _ in texts(".js"):
            result = subprocess.run(["node", "--check", str(path)], capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result.stderr)

    def test_nothing_is_asked_of_another_machine(self):
        for path, text in texts(".html") + texts(".css") + texts(".js"):
            self.assertNotRegex(text, r"https?:|//\w|@import|url\(|import\(|XMLHttpRequest|WebSocket|sendBeacon", path)

    def test_lines_are_short(self):
        for path, text in texts(".html") + texts(".css") + texts(".js"):
            self.assertLessEqual(max(map(len, text.splitlines())), 130, path)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])  # ctest gives the binary too
