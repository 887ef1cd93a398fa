"""What each chat format renders, by transformers 5.23.0's own template engine.

The templates are short ones of our own that follow each format's published conventions (spaces, trimming, system prompts);
tests/text/chat_test.cpp lets ChatTemplate recognise them and compares its tokens, spelled out, with the text.
Writes tests/text/golden/chats.json. Run: .deps/reference/bin/python tests/golden/chats.py
"""
import datetime
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
LLAMA3_DAY = "{% if not date_string is defined %}{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}" \
    "{% if messages[0].role == 'system' %}{% set system_message = messages[0].content | trim %}{% set messages = messages[1:] %}{% else %}{% set system_message = '' %}{% endif %}" \
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + date_string + '\\n\\n' + system_message + '<|eot_id|>' }}" \
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}" \
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
GEMMA = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}" \
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}" \
    "{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}" \
    "{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
PHI = "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
THINKING = """{%- macro turn(role, text) -%}
{{ '<|im_start|>' + role + '\\n' + text + '<|im_end|>\\n' }}
{%- endmacro -%}
{%- set ns = namespace(last=0) -%}
{%- for m in messages -%}
    {%- if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif -%}
{%- endfor -%}
{%- for m in messages -%}
    {%- if m.role == 'assistant' and '</think>' in m.content and loop.index0 < ns.last -%}
        {{- turn(m.role, m.content.split('</think>')[-1].lstrip('\\n')) -}}
    {%- else -%}
        {{- turn(m.role, m.content) -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- '<think>\\n\\n</think>\\n\\n' -}}
    {%- endif -%}
{%- endif -%}
"""
MISTRAL_STRICT = "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}" \
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
TEMPLATES.update({
    "chatml with bos": "{{ bos_token }}" + CHATML,
    "llama 3 with a day": LLAMA3_DAY,
    "gemma": GEMMA,
    "phi": PHI,
    "qwen 3 that thinks": THINKING,
    "mistral that wants users and assistants in turn": MISTRAL_STRICT,
    "chatml, system last": "{% for m in messages if m.role != 'system' %}{{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' }}{% endfor %}" \
        "{% for m in messages | selectattr('role', 'equalto', 'system') | list %}{{ m.content | tojson }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
})
FOLDS_SYSTEM = ("gemma", "mistral that wants users and assistants in turn")
CONVERSATIONS = [
    [("user", "Hello there")],
    [("user", "  two\n\nlines ")],
    [("system", "Be brief."), ("user", "Hi")],
    [("system", "Be brief."), ("user", "Hi"), ("assistant", "  Yes? "), ("user", "Why <|im_end|> not")],
    [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"), ("user", "five")],
    [("user", "one"), ("assistant", "<think>\nwell\n</think>\n\ntwo"), ("user", "three")],
]

cases = []
for name, source in TEMPLATES.items():
    compiled = _compile_jinja_template(source)
    compiled.globals["strftime_now"] = datetime.datetime(2024, 7, 26).strftime  # the day that cai's templates always see
    rendered = []
    for conversation in CONVERSATIONS:
        messages = [{"role": role, "content": content} for role, content in conversation]
        shown = messages
        if name in FOLDS_SYSTEM and messages[0]["role"] == "system":  # the text of the system goes in front of the first user's
            shown = [{"role": "user", "content": messages[0]["content"] + "\n\n" + messages[1]["content"]}] + messages[2:]
        text = compiled.render(messages=shown, add_generation_prompt=True, bos_token="<s>", eos_token="</s>", enable_thinking=False)
        rendered.append({"messages": messages, "text": text})
    cases.append({"name": name, "template": source, "chats": rendered})
OUT.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
print(len(cases), "templates")
