"""What mkdocs needs beside docs/: pages that lie elsewhere in the repository join the site."""

import pathlib

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = {"CHANGELOG.md": "changelog.md", "src/README.md": "dev/architecture.md"}


def on_files(files, config):
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    depth = page.file.src_uri.count("/")
    for source, target in PAGES.items():
        markdown = markdown.replace(f"]({'../' * (depth + 1)}{source})", f"]({'../' * depth}{target})")
    return markdown
