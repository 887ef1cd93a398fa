"""Writes docs/reference/cli.md and docs/reference/config.md from what the program says of itself.

python3 scripts/docs.py [--check] build/cai
"""

import json
import pathlib
import re
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs/reference"
NOTE = "<!-- Written by scripts/docs from the program's own help. Do not edit. -->"
GROUPS = [
    ("Runs", "train plan report verify"),
    ("People and explanations", "explain review"),
    ("Models", "chat export eval score"),
    ("Production", "check guard"),
    ("Releases", "gate promote registry key"),
    ("Single stages", "prompts generate critique revise sft exam candidates label reward dpo ppo"),
    ("Constitutions and settings", "init constitution config completion"),
]

COMMON = [
    ("train on more or other prompts", "prompts.files prompts.red_team prompts.borderline prompts.ordinary"),
    (
        "allow longer answers",
        "generate.max_new_tokens candidates.max_new_tokens ppo.max_new_tokens eval.max_new_tokens",
    ),
    (
        "get fewer refusals of harmless requests",
        "sft.answering_weight sft.before_share ppo.harmless_divergence_weight",
    ),
    ("get more refusals of harmful requests", "sft.epochs sft.answering_weight sft.before_share"),
    (
        "use less memory",
        "sft.trainable_layers reward.trainable_layers ppo.trainable_layers engine.max_sequences",
    ),
    ("choose who labels, and how", "label.feedback label.method label.principles"),
    ("ask a server", "label.feedback endpoint.model endpoint.concurrency endpoint.max_cost"),
    ("train on people's decisions", "hybrid.decisions hybrid.pairs hybrid.share"),
    ("leave out reinforcement learning", "method ppo.updates"),
    ("measure other things, and set conditions", "eval.suites eval.gates"),
]


def output_of(program, *words):
    done = subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"scripts/docs: cai {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def cell(text):
    """Text as the cell of a table."""
    return escaped(text.strip()).replace("|", "\\|")


def escaped(text):
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*")


def wrapped(text):
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


def parts_of(help_text):
    """The sections of a help text: "" its first lines, "Options" [[name, meaning]], "Examples" lines."""
    parts, name = {"": []}, ""
    for line in help_text.splitlines():
        if re.fullmatch(r"[A-Z][A-Za-z]*:", line):
            name = line[:-1]
            parts[name] = []
        elif line.startswith("Everywhere:") or line.startswith("Each command"):
            name = "tail"
            parts[name] = []
        elif line.strip():
            parts[name].append(line)
    for section in ("Positionals", "Options", "Subcommands"):
        rows = []
        for line in parts.get(section, []):
            if line.startswith(" " * 12):
                rows[-1][1] = (rows[-1][1] + " " + line.strip()).strip()
            else:
                name, _, meaning = re.sub(r"\s{2,}", "\0", line.strip(), count=1).partition("\0")
                rows.append([name, meaning])
        parts[section] = rows
    return parts


def table(rows, first):
    if not rows:
        return []
    lines = [f"| {first} | meaning |", "| -- | -- |"]
    for name, meaning in rows:
        name = name.replace(" ...", "").replace(" REQUIRED", "")
        lines.append(f"| `{name.replace('|', chr(92) + '|')}` | {cell(meaning)} |")
    return lines + [""]


def command_lines(program, words, level):
    parts = parts_of(output_of(program, *words, "--help"))
    about = [line for line in parts[""] if not line.startswith("Usage:")]
    usage = next(line for line in parts[""] if line.startswith("Usage:"))[len("Usage: ") :]
    sentence = wrapped(escaped(" ".join(about)).rstrip(".") + ".")
    lines = [f"{'#' * level} cai {' '.join(words)}", "", sentence, ""]
    if not parts["Subcommands"]:
        lines += ["```", usage, "```", ""]
    lines += table(parts["Positionals"], "argument")
    lines += table([row for row in parts["Options"] if "--help" not in row[0]], "option")
    if parts.get("Examples") and not parts["Subcommands"]:
        lines += [
            "```",
            *[line[2:] if line.startswith("  ") else line for line in parts["Examples"]],
            "```",
            "",
        ]
    for name, _ in parts["Subcommands"]:
        lines += command_lines(program, [*words, name], level + 1)
    return lines


def cli_page(program):
    top = parts_of(output_of(program, "--help"))
    named = [name for _, names in GROUPS for name in names.split()]
    known = dict(top["Subcommands"])
    missing = [name for name in known if name not in named]
    groups = GROUPS + ([("Others", " ".join(missing))] if missing else [])
    lines = [
        "# Commands",
        "",
        NOTE,
        "",
        wrapped(
            "From a checkout the program is `scripts/cai`, installed it is `cai`. "
            "`cai COMMAND --help` prints the same text."
        ),
        "",
        "Every command takes these options:",
        "",
    ]
    lines += table([row for row in top["Options"] if row[0] != "--version"], "option")
    lines += ["| command | what it does |", "| -- | -- |"]
    for _, names in groups:
        lines += [
            f"| [`{name}`](#cai-{name}) | {cell(known[name])} |" for name in names.split() if name in known
        ]
    for title, names in groups:
        lines += ["", f"## {title}", ""]
        for name in names.split():
            if name in known:
                lines += command_lines(program, [name], 3)
        lines.pop()
    return "\n".join(lines) + "\n"


def text_of(value):
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value)


def meaning_of(field):
    accepts = re.sub("^one of: ", "", field["accepts"])
    obvious = accepts in ("a text", "true or false")
    return cell(field["help"] + ("" if obvious else f" Accepts {accepts}."))


def common_settings(names):
    lines = ["## The most common ones", "", "| to | change |", "| -- | -- |"]
    for purpose, fields in COMMON:
        unknown = [field for field in fields.split() if field not in names]
        if unknown:
            sys.exit(f"scripts/docs: COMMON names {unknown}, which are no settings")
        links = [
            f"[`{field}`](#{field.partition('.')[0] if '.' in field else 'the-run'})"
            for field in fields.split()
        ]
        lines.append(f"| {purpose} | {', '.join(links)} |")
    return lines + [""]


def place_of(field):
    """Section and name of a setting: "sft" and "lora.rank", "" and "model"."""
    head, dot, name = field["name"].partition(".")
    return (head, name) if dot else ("", head)


def config_page(program):
    fields = json.loads(output_of(program, "config", "explain", "--json"))
    used = json.loads(output_of(program, "config", "show", "--json"))
    lines = [
        "# Settings",
        "",
        NOTE,
        "",
        "A setting is a field of a config file (YAML), or `--set SECTION.FIELD=VALUE` on the command line.",
        "`cai config show` prints the values in force and where each comes from.",
        "",
        wrapped(
            "**Value** is what plain `cai train` uses, from `configs/default.yaml`, tuned for the default "
            "model. In brackets: the built-in value, where it differs. It holds where a config file neither "
            "names the field nor begins with `extends: default.yaml`."
        ),
        "",
    ]
    lines += common_settings({field["name"] for field in fields})
    section = None
    for field in fields:
        head, name = place_of(field)
        if head != section:
            section = head
            lines += [f"## {head or 'The run'}", "", "| field | value | meaning |", "| -- | -- | -- |"]
        value, built_in = text_of(used[head][name] if head else used[name]), field["default"]
        same = value == built_in or value == text_of(
            json.loads(built_in) if built_in[:1].isdigit() else built_in
        )
        shown = f"`{value}`" + ("" if same else f" (`{built_in}`)")
        lines.append(f"| `{name}` | {shown} | {meaning_of(field)} |")
        if field is fields[-1] or place_of(fields[fields.index(field) + 1])[0] != head:
            lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def main(words):
    check = words[:1] == ["--check"]
    program = str(pathlib.Path(words[-1]).resolve())
    stale = []
    for name, page in (("cli.md", cli_page), ("config.md", config_page)):
        file, text = REFERENCE / name, page(program)
        if file.exists() and file.read_text() == text:
            continue
        stale.append(str(file.relative_to(ROOT)))
        if not check:
            file.write_text(text)
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; scripts/docs --pages writes them")


if __name__ == "__main__":
    main(sys.argv[1:])
