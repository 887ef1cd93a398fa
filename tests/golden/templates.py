"""What jinja2, set up as transformers 5.23.0 does, makes of short pieces of templates.

Writes tests/text/golden/templates.json: variables, and for each piece its text, or no text where jinja2 raises an error.
Run: .deps/reference/bin/python tests/golden/templates.py
"""
import json
import pathlib

import transformers.utils.chat_template_utils as chat

OUT = pathlib.Path(__file__).resolve().parents[1] / "text" / "golden" / "templates.json"
VARIABLES = {
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "  Hi <b> \n"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes"},
                 {"role": "user", "content": "na\u00efve \U0001f600 \"q\" 'p' \\ \t"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": []}}}],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True, "n": 7, "r": 2.5, "none": None, "words": ["b", "A", "c", "a"], "d": {"k": 1, "items2": [1, 2], "b": None}, "empty": [],
}
SNIPPETS = [
    # output and white space
    "a {{ 'b' }} c", "{{ 'x' }}\n", "{{ 'x' }}\n\n", "a\n  {% if true %}\n  b\n  {% endif %}\nc", "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc", "a {#- c -#} b", "a\n {# c #}\nb",
    "{%+ if true %} x{%+ endif %}", "  {{- ' x ' -}}  y", "a\n\n{%- set x = 1 %}\n\nb", "{% raw %}{{ x }} {% if %}{% endraw %}", "{%- raw -%} {{ x }} {%- endraw -%} y", "\r\na\r\nb\r\n", "x{% if true +%}\ny{% endif %}",
    "{% if true %}\n\n  a{% endif %}", "   {% set x = 1 %}   \n  y", "{{ 1 }}{# {{ x }} #}{{ 2 }}", "  a\n\t{% if 1 %}\tb\n\t{% endif %}\n",
    # literals and printing
    "{{ 1 }} {{ 1.0 }} {{ 1.5e3 if false else 0.1 }} {{ true }} {{ False }} {{ none }} {{ None }}", "{{ [1, 'a', none, true, 2.0] }}", "{{ (1,) }} {{ (1, 2) }} {{ () }}", "{{ {'a': 1, 'b': [2]} }}",
    "{{ 'it\\'s' }} {{ \"a\\\"b\" }} {{ 'a\\nb\\tc' }} {{ 'a\\\\b' }} {{ '\\u00e9\\x41' }} {{ 'a' 'b' }}", "{{ [\"it's\", 'say \"x\"', 'both \\' \"'] }}", "{{ 1e16 if true }}" if False else "{{ 0.00001 }} {{ 123456789.125 }}",
    "{{ undefined_thing }}|", "{{ 10 / 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 * 3.0 }} {{ 1 - 5 }} {{ -n }} {{ +n }}", "{{ 'a' ~ 1 ~ none ~ [2] }}", "{{ 'ab' * 3 }} {{ [1] * 2 }}",
    "{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 7.5 // 2 }} {{ 7.5 % 2 }}", "{{ 1_000 + 1 }}",
    # comparison and logic
    "{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ 'a' in 'cat' }} {{ 'x' not in 'cat' }} {{ 1 in [1] }} {{ 'k' in d }} {{ 'z' in d }}", "{{ not true or true and false }}", "{{ 0 or 'x' }} {{ '' or [] or 'y' }} {{ 1 and 'z' }}",
    "{{ 'yes' if n > 5 else 'no' }} {{ 'only' if false }}|", "{{ 'a' if false else 'b' if false else 'c' }}", "{{ [1, 2] == [1, 2] }} {{ (1,) == [1] }} {{ {'a': 1} == {'a': 1} }} {{ none == false }} {{ '1' == 1 }} {{ true == 1 }}",
    "{{ not n is defined }} {{ n is defined and n }} {{ x is not defined }}", "{{ x == y }} {{ x }} {{ x is none }}",
    # attributes, elements, slices
    "{{ messages[0].role }} {{ messages[0]['content'] }} {{ messages[-1].role }} {{ messages[9] is defined }}", "{{ messages[0].missing is defined }} {{ messages[0]['missing'] }}|", "{{ words[1:] }} {{ words[:-1] }} {{ words[::2] }} {{ words[::-1] }} {{ words[5:] }}",
    "{{ 'na\u00efve'[2] }} {{ 'na\u00efve'[1:4] }} {{ 'na\u00efve'[::-1] }} {{ 'abc'[-1] }} {{ 'abc'[-2:] }}", "{{ d.k }} {{ d['k'] }} {{ d.items2 }} {{ d.items() | list }} {{ d.get('k') }} {{ d.get('z', 9) }} {{ d.keys() | list }} {{ d.values() | list }}",
    "{{ messages | length }} {{ messages[1:] | length }} {{ 'na\u00efve' | length }}", "{{ words.0 }} {{ words.1 }}", "{{ words[10:1:-1] }} {{ words[-100:100] }} {{ words[3:0:-2] }}",
    # statements
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }} {% endfor %}", "{% for x in [] %}a{% else %}none{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for x in range(10) if x % 2 %}{{ x }}{{ loop.last }}{% endfor %}", "{% for x in range(5) %}{% if x == 3 %}{% break %}{% endif %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in words %}{{ loop.previtem }}-{{ x }}-{{ loop.nextitem }} {% endfor %}",
    "{% for x in words %}{{ loop.cycle('o', 'e') }}{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}{% for c in 'ab' %}{{ c }}.{% endfor %}", "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% if n == 1 %}a{% elif n == 7 %}b{% else %}c{% endif %}", "{% if n == 1 %}a{% elif n == 2 %}b{% else %}c{% endif %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set x %}a{{ n }}b{% endset %}{{ x | upper }}", "{% set x | upper %}abc{% endset %}{{ x }}", "{% macro m(a, b='z', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 2) }} {{ m(c=3, a=4) }}",
    "{% macro rec(x) %}{{ x }}{% if x > 0 %}{{ rec(x - 1) }}{% endif %}{% endmacro %}{{ rec(3) }}", "{% macro w(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call w('b') %}x{{ n }}{% endcall %}", "{% macro w() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) w() %}{{ a }}{{ b }}{% endcall %}",
    "{% filter upper %}abc{{ n }}{% endfilter %}", "{% filter trim | upper %} a {% endfilter %}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "{% generation %}x{% endgeneration %}", "{% if true %}{% set q = 5 %}{% endif %}{{ q }}", "{% for a in [[1, 2], [3, 4]] %}{% for b in a %}{{ loop.index }}{{ b }}{% endfor %}{% endfor %}",
    "{% for (a, b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}", "{% macro m() %}{{ n }}{{ loop is defined }}{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}",
    # filters
    "{{ '  a ' | trim }}|{{ 'xax' | trim('x') }}", "{{ words | sort }} {{ words | sort(reverse=true) }} {{ words | sort(case_sensitive=true) }}", "{{ words | join }} {{ words | join(', ') }} {{ messages | map(attribute='role') | join('/') }}", "{{ words | first }} {{ words | last }} {{ empty | first is defined }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', '==', 'user') | map(attribute='role') | list }}", "{{ [1, 2, 3, 4] | select('odd') | list }} {{ [1, 2, 3, 4] | reject('gt', 2) | list }} {{ [0, 1, ''] | select | list }}", "{{ messages | selectattr('tool_calls', 'defined') | list }}",
    "{{ 'abc' | upper | lower | capitalize | title }} {{ \"they're bill's\" | title }} {{ 'hello world-x' | title }}", "{{ x | default('d') }} {{ '' | default('d') }}| {{ '' | default('d', true) }} {{ none | d('e') }} {{ none | d('e', boolean=true) }}", "{{ d | tojson }} {{ words | tojson }} {{ messages[3].content | tojson }} {{ tools[0] | tojson }}",
    "{{ tools[0] | tojson(indent=4) }}", "{{ {'b': 1, 'a': [], 'c': {}} | tojson(indent=2) }}", "{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':')) }}", "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}", "{{ '\\u0001\\x7f\\u2028</' | tojson }}", "{{ 'a-b-a' | replace('a', 'x') }} {{ 'aaa' | replace('a', 'b', 2) }}",
    "{{ '42' | int + 1 }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ '2.5' | float }} {{ 3.9 | int }} {{ '3.7' | int }}", "{{ 'a\\nb\\n\\nc' | indent }}|{{ 'a\\nb' | indent(2, true) }}|{{ 'a\\n\\nb' | indent(2, blank=true) }}", "{{ d | items | list }} {{ d | dictsort }} {{ {'B': 1, 'a': 2} | dictsort }}", "{{ [3, 1, 2] | min }} {{ [3, 1, 2] | max }} {{ [3, 1] | sum }} {{ -3 | abs }} {{ 2.567 | round(2) }}",
    "{{ [1, 1, 2] | unique | list }} {{ words | reverse | list }} {{ 'abc' | reverse }}", "{{ '<a&\"' | e }} {{ 'x' | safe }} {{ 5 | string + 'a' }} {{ 'ab' | list }}", "{{ words | map('upper') | list }} {{ [' a '] | map('trim') | join }}", "{{ messages | map(attribute='none', default='z') | list }}", "{% if messages | selectattr('role', 'equalto', 'tool') %}lazy{% endif %}",
    "{{ 'a' + 'b' | upper }} {{ ('a' + 'b') | upper }} {{ -1 | abs }} {{ 1 + -2 | abs }}",
    # tests
    "{{ n is number }} {{ n is integer }} {{ r is float }} {{ 'a' is string }} {{ d is mapping }} {{ words is sequence }} {{ words is iterable }} {{ none is none }} {{ true is boolean }} {{ true is true }} {{ 1 is true }}", "{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 'a' is in ['a'] }} {{ 1 is eq 1 }} {{ 2 is gt 1 }} {{ 'a' is lower }} {{ 'A' is upper }}",
    "{{ x is undefined }} {{ 'a' is sameas 'b' }} {{ range is callable }} {{ strftime_now is defined }} {{ 'str' is mapping }} {{ 'str' is iterable }} {{ 5 is iterable }}", "{{ n is not none and n is not string }}", "{{ messages is defined and messages[0].content is string }}",
    # methods
    "{{ ' a '.strip() }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ 'xyaxy'.strip('xy') }}|{{ 'a\\n'.rstrip('\\n') }}", "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }}", "{{ messages[2].content.split('</think>')[-1].lstrip('\\n') }}",
    "{{ 'abc'.startswith('a') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c') }} {{ 'abc'.find('z') }} {{ 'na\u00efv'.find('v') }} {{ 'aXa'.count('a') }} {{ 'a-b'.replace('-', '+') }} {{ 'aaa'.replace('a', 'b', 1) }}", "{{ 'aBc dEf'.title() }} {{ 'ABC'.lower() }} {{ 'abc'.upper() }} {{ 'aBC'.capitalize() }} {{ '12'.isdigit() }} {{ ' '.isspace() }}",
    "{{ ','.join(['a', 'b']) }} {{ 'a\\nb\\r\\nc'.splitlines() }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }}", "{{ 'ab'.replace('', '-') }} {{ 'abc'.isupper() }} {{ 'ABC'.isupper() }} {{ [1, 2, 1].count(1) }} {{ [1, 2].index(2) }}", "{{ '\u00c4\u00d6'.lower() }} {{ '\u00e4'.upper() }} {{ '\u00a0a\u3000'.strip() }}|",
    "{{ '{} {} {{}} {0}'.format(1, 2) if false else '{}-{}{{x}}'.format('a', 2) }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{n}'.format(n=3) }}", "{{ '\u00e9\U0001f600' | tojson(ensure_ascii=true) }}", "{{ none | selectattr('a') | list }} {{ none | map('upper') | list }}",
    "{% if false %}{{ 1 | never_heard_of }}{% endif %}ok", "{{ 1 | never_heard_of }}", "{{ words | map('upper') | tojson }}", "{{ '{'.format(1) }}", "{{ 1.5e3 }} {{ 2E-2 }} {{ 1e3 }}", "{{ 'a\nb'.format() }}",
    # functions
    "{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }}", "{{ dict(a=1, b=2) }} {{ dict({'x': 1}, y=2) }}", "{% set j = joiner(';') %}{% for x in words %}{{ j() }}{{ x }}{% endfor %}", "{{ namespace(a=1).a }}",
    # errors
    "{{ x.y }}", "{{ x + 'a' }}", "{{ 'a' + 1 }}", "{{ 1 / 0 }}", "{{ x() }}", "{{ none.foo.bar }}", "{{ raise_exception('no') }}", "{{ 'a' < 1 }}", "{{ words.append(1) }}", "{% for x in 5 %}{% endfor %}", "{{ x | tojson }}", "{% set d.k = 2 %}", "{{ none | length }}", "{{ 'a'.split('') }}", "{% set a, b = [1] %}",
]


def rendered(source):
    try:
        return {"source": source, "text": chat._compile_jinja_template(source).render(**VARIABLES)}
    except Exception:
        return {"source": source}


if __name__ == "__main__":
    cases = [rendered(source) for source in SNIPPETS]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    OUT.write_text('{"variables": ' + json.dumps(VARIABLES, ensure_ascii=False) + ',\n"snippets": [\n' + lines + "]}\n")
    print(len(cases), "pieces,", sum("text" not in case for case in cases), "of them errors")
    for case in cases:
        if "text" not in case:
            print(case["source"])
