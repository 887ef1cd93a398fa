"""Chat templates of public models, rendered by cai and by transformers' apply_chat_template: the same text, or an error from both.

The templates are those that the source distribution of llama-cpp-python carries; they are not part of this repository. pip fetches it once (76 MB)
into .deps/templates. Run: .deps/reference/bin/python tests/text/templates_reference.py build/cai [--table]
"""
import datetime
import json
import pathlib
import subprocess
import sys
import tarfile

import transformers.utils.chat_template_utils as chat

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORE = ROOT / ".deps" / "templates"
PACKAGE = "llama-cpp-python==0.3.36 --hash=sha256:832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e\n"


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


SYSTEM = {"role": "system", "content": "Answer in one line."}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather <now>", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "a city"}, "days": {"type": "integer"}}, "required": ["city"]}}}]
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "weather", "arguments": {"city": "K\u00f6ln", "days": 2}}}
CASES = {
    "one turn": ([user("Hello <|im_end|> there")], {}),
    "white space": ([user("  two\n\nlines \n")], {}),
    "system": ([SYSTEM, user("Hi")], {}),
    "turns": ([user("one"), assistant("  two "), user("three \U0001f600")], {}),
    "system and turns": ([SYSTEM, user("one"), assistant("two"), user("three")], {}),
    "thoughts": ([user("one"), assistant("<think>\nwell\n</think>\n\ntwo"), user("three")], {}),
    "finished": ([user("one"), assistant("two")], {"add_generation_prompt": False}),
    "thinking off": ([SYSTEM, user("Hi")], {"enable_thinking": False}),
    "thinking on": ([user("Hi")], {"enable_thinking": True}),
    "two users": ([user("one"), user("two")], {}),
    "tools": ([user("Weather?")], {"tools": TOOLS}),
    "tools and system": ([SYSTEM, user("Weather?")], {"tools": TOOLS}),
    "a call": ([user("Weather?"), assistant("", tool_calls=[CALL]), {"role": "tool", "name": "weather", "tool_call_id": "abcdefghi", "content": "sunny"}], {"tools": TOOLS}),
}


# "| safe" makes a text of jinja2 escape what is put behind it, as HTML; cai writes the text as it is.
KNOWN = {("meetkai-functionary-medium-v3.1", case) for case in ("tools", "tools and system", "a call")}


def templates():
    if not STORE.exists():
        part = STORE.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        (part / "requirements.txt").write_text(PACKAGE)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes", "-d", part, "-r", part / "requirements.txt"], check=True)
        with tarfile.open(next(part.glob("*.tar.gz"))) as archive:
            for member in archive.getmembers():
                name = pathlib.PurePosixPath(member.name)
                if name.suffix == ".jinja" and name.parent.name == "templates":
                    (part / name.name).write_bytes(archive.extractfile(member).read())
        next(part.glob("*.tar.gz")).unlink()
        part.rename(STORE)
    return {path.stem: path.read_text() for path in sorted(STORE.glob("*.jinja"))}


def variables(messages, more):
    return {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True, "bos_token": "<BOS>", "eos_token": "<EOS>", **more}


def reference(source, given):
    try:
        compiled = chat._compile_jinja_template(source)
        compiled.globals["strftime_now"] = datetime.datetime(2024, 7, 26).strftime  # the day that cai's templates always see
        return {"text": compiled.render(**json.loads(json.dumps(given)))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def agrees(mine, theirs):
    return mine["text"] == theirs.get("text") if "text" in mine else "error" in theirs


def main():
    program = pathlib.Path(sys.argv[1]).resolve().parent / "render_template"
    found = templates()
    assert len(found) >= 60, f"{len(found)} templates"
    questions = [(name, case, source, variables(*CASES[case])) for name, source in found.items() for case in CASES]
    asked = "".join(json.dumps({"source": source, "variables": given}) + "\n" for _, _, source, given in questions)
    done = subprocess.run([program], input=asked, capture_output=True, text=True, check=True, timeout=600)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(questions), done.stderr
    wrong = {}
    texts = 0
    for (name, case, source, given), mine in zip(questions, answers):
        theirs = reference(source, given)
        texts += "text" in theirs
        if not agrees(mine, theirs) and (name, case) not in KNOWN:
            wrong.setdefault(name, []).append((case, mine, theirs))
    if "--table" in sys.argv:
        for name in found:
            print(f"| {name} | {len(CASES)} | {len(CASES) - len(wrong.get(name, []))} |")
    for name, cases in wrong.items():
        case, mine, theirs = cases[0]
        print(f"{name}: {len(cases)} differ, first {case!r}:\n  cai          {str(mine)[:600]}\n  transformers {str(theirs)[:600]}")
    print(f"{len(found)} templates, {len(questions)} conversations ({texts} rendered, {len(questions) - texts} refused by transformers): {sum(map(len, wrong.values()))} differ beside {len(KNOWN)} known ones")
    sys.exit(1 if wrong else 0)


main()
