"""What each chat format renders, by transformers 5.23.0's own template engine.

The templates are short ones of our own that follow each format's published conventions (spaces, trimming, system prompts);
tests/text/chat_test.cpp lets ChatTemplate recognise them and compares its tokens, spelled out, with the text.
Writes tests/text/golden/chats.json. Run: .deps/reference/bin/python tests/golden/chats.py
"""
import json
import pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

OUT = pathlib.Path(__file__).resolve().parents[1] / "text" / "golden" / "chats.json"

CHATML = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" \
         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
SPLIT = "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}{% set turns = messages[1:] %}" \
        "{% else %}{% set turns = messages %}{% endif %}"


def inst(user, answer, where="first", first="{{ bos_token }}"):
    """A template of the [INST] family; the turn that carries the system prompt is the first or the last."""
    carries = "loop.first and" if where == "first" else "loop.last and"
    return (SPLIT + first + "{% for m in turns %}{% if m['role'] == 'user' %}{% if " + carries + " system_message is defined %}"
            "{{ " + user.replace("CONTENT", "system_message + '\\n\\n' + m['content']") + " }}{% else %}"
            "{{ " + user.replace("CONTENT", "m['content']") + " }}{% endif %}{% elif m['role'] == 'assistant' %}{{ " + answer + " }}{% endif %}{% endfor %}")


LLAMA2 = SPLIT + "{% for m in turns %}{% if loop.first and system_message is defined %}" \
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + m['content'] %}{% else %}{% set content = m['content'] %}{% endif %}" \
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}" \
    "{% elif m['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
LLAMA3 = "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}" \
         "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
LLAMA31 = SPLIT + "{{ bos_token }}{{ '<|start_header_id|>system<|end_header_id|>\\n\\n' }}{{ 'Cutting Knowledge Date: December 2023\\n' }}{{ 'Today Date: 26 Jul 2024\\n\\n' }}" \
    "{{ (system_message if system_message is defined else '') | trim }}{{ '<|eot_id|>' }}" \
    "{% for m in turns %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}" \
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
ZEPHYR = "{% for m in messages %}\n{% if m['role'] == 'user' %}\n{{ '<|user|>\\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'system' %}\n" \
    "{{ '<|system|>\\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'assistant' %}\n{{ '<|assistant|>\\n' + m['content'] + eos_token }}\n{% endif %}\n" \
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"

TEMPLATES = {
    "chatml": CHATML,
    "chatml with a system prompt of its own": "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}{% endif %}" + CHATML,
    "qwen": "{#- Qwen -#}{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are Qwen, made to help.<|im_end|>\n' }}{% endif %}" + CHATML,
    "llama 2": LLAMA2,
    "llama 3": LLAMA3,
    "llama 3.1": LLAMA31,
    "mistral before v1": inst("'[INST] ' + CONTENT + ' [/INST]'", "m['content'] + eos_token"),
    "mistral v1": inst("' [INST] ' + CONTENT + ' [/INST]'", "' ' + m['content'] + eos_token"),
    "mistral v3": inst("\"[INST] \" + CONTENT + \"[/INST]\"", "\" \" + m[\"content\"]|trim + eos_token", where="last"),
    "mistral v3 tekken": inst("\"[INST]\" + CONTENT + \"[/INST]\"", "m[\"content\"] + eos_token", where="last"),
    "zephyr": ZEPHYR,
}
CONVERSATIONS = [
    [("user", "Hello there")],
    [("user", "  two\n\nlines ")],
    [("system", "Be brief."), ("user", "Hi")],
    [("system", "Be brief."), ("user", "Hi"), ("assistant", "  Yes? "), ("user", "Why <|im_end|> not")],
    [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"), ("user", "five")],
]

cases = []
for name, source in TEMPLATES.items():
    rendered = []
    for conversation in CONVERSATIONS:
        messages = [{"role": role, "content": content} for role, content in conversation]
        text = _compile_jinja_template(source).render(messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
        rendered.append({"messages": messages, "text": text})
    cases.append({"name": name, "template": source, "chats": rendered})
OUT.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
print(len(cases), "templates")
