// The template engine: what Jinja gives (checked against jinja2 3.1 by tests/golden/templates.py), who typed
// what, and limits.
#include "cai/text/jinja.hpp"

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::string rendered(const std::string& source, const Json& variables = Json::object()) {
  std::string text;
  for (const TextPart& part : JinjaTemplate(source).render(variables))
    text += part.text;
  return text;
}

std::string refusal(const std::string& source, const Json& variables = Json::object()) {
  try {
    return "accepted: " + rendered(source, variables).substr(0, 100);
  } catch (const InputError& e) {
    return e.what();
  }
}

TEST(Jinja, RendersWhatJinja2Does) {
  const fs::path golden = fs::path(CAI_SOURCE_DIR) / "tests/text/golden/templates.json";
  const Json cases = parse_json(read_file(golden), golden.string());
  ASSERT_GT(cases["snippets"].size(), 100u);
  for (const Json& c : cases["snippets"]) {
    const std::string source = c["source"];
    if (c.contains("text"))
      EXPECT_EQ(rendered(source, cases["variables"]), c["text"].get<std::string>()) << source;
    else
      EXPECT_THROW(rendered(source, cases["variables"]), InputError) << source;
  }
}

TEST(Jinja, KnowsWhoTypedEachCharacter) {
  const Json variables = {{"messages", {{{"role", "user"}, {"content", " ab<x>cd "}}}}, {"bos_token", "<x>"}};
  const auto marked = [&](const std::string& source) {
    std::string text;
    for (const TextPart& part : JinjaTemplate(source).render(variables))
      text += part.typed ? "[" + part.text + "]" : part.text;
    return text;
  };
  EXPECT_EQ(marked("{{ bos_token + messages[0].content }}"), "<x>[ ab<x>cd ]");
  EXPECT_EQ(marked("{{ messages[0].role ~ messages[0].content | trim }}"), "user[ab<x>cd]");
  EXPECT_EQ(marked("{{ ('<x>' + messages[0].content).replace('b<', '-') }}"), "<x>[ a]-[x>cd ]");
  EXPECT_EQ(marked("{{ ('1<x>' + messages[0].content).split('<x>') | join('+') }}"), "1+[ ab]+[cd ]");
  EXPECT_EQ(marked("{{ (bos_token + messages[0].content)[1:7] }}"), "x>[ ab<]");
  EXPECT_EQ(marked("{{ messages[0].content | upper | tojson }}"), "\"[ AB<X>CD ]\"");
  EXPECT_EQ(marked("{{ messages[0] | tojson }}"), "{\"[role]\": \"user\", \"[content]\": \"[ ab<x>cd ]\"}");
  EXPECT_EQ(
      marked("{% set x %}({{ messages[0].content }}){% endset %}{{ x | capitalize | indent(2, true) }}"),
      "  ([ ab<x>cd ])");
  EXPECT_EQ(marked("{% for c in messages[0].content %}{{ c }}.{% endfor %}").substr(0, 9), "[ ].[a].[");
  EXPECT_EQ(marked("{{ (messages[0].content, 1) }}"), "('[ ab<x>cd ]', 1)");
  EXPECT_EQ(marked("{% macro m(t) %}<{{ t | title }}>{% endmacro %}{{ m(messages[0].content) * 2 }}"),
            "<[ Ab<X>cd ]><[ Ab<X>cd ]>");
}

TEST(Jinja, WhatIsNotThereIsRefusedWithItsLine) {
  EXPECT_EQ(refusal("a\n{{ x | shout }}"), "chat template, line 2: the filter \"shout\" is not known");
  EXPECT_EQ(refusal("{{ 1 is prime }}"), "chat template, line 1: the test \"prime\" is not known");
  EXPECT_EQ(refusal("\n\n{% include 'x' %}"),
            "chat template, line 3: the statement \"include\"; accepted: if, for, set, macro, call, filter, "
            "with, generation, break, continue, raw");
  EXPECT_EQ(refusal("{% if x %}"), "chat template, line 1: {% endif %} is missing");
  EXPECT_EQ(refusal("{{ raise_exception('no\nsystem') }}"),
            "chat template, line 1: the template refuses this conversation: \"no\\nsystem\"");
  EXPECT_EQ(refusal("{{ a.b.c }}"), "chat template, line 1: the attribute \"b\" of something undefined");
  EXPECT_EQ(
      refusal("{{ [].append(1) }}"),
      "chat template, line 1: \"append\" changes a value; accepted: new values, attributes of a namespace");
  for (const char* source :
       {"{{", "{%", "{{ }}", "{{ ) }}", "{{ 'a }}", "{# x", "{% for x %}", "{{ a b }}", "{% set %}",
        "{{ 1 + }}", "{% endif %}", "{{ x[1:2:3:4] }}", "{{ \x01 }}", "{{ '\\ud800' }}"})
    EXPECT_EQ(refusal(source).substr(0, 14), "chat template,") << source;
}

TEST(Jinja, AHostileTemplateEndsSoon) {
  std::string deep = "{{ ", many = "{{ 1";
  for (int i = 0; i < 100'000; ++i)
    deep += "(", many += " + 1";
  std::string blocks;
  for (int i = 0; i < 10'000; ++i)
    blocks += "{% if 1 %}";
  std::string negations = "{{ ";
  for (int i = 0; i < 100'000; ++i)
    negations += "not ";
  std::string loops;
  for (int i = 0; i < 12; ++i)
    loops += "{% for x in range(100) %}";
  for (int i = 0; i < 12; ++i)
    loops += "{% endfor %}";
  const std::vector<std::string> hostile = {
      "{% for i in range(10**9) %}x{% endfor %}",
      "{{ 'ab' * 10**9 }}",
      "{{ [1] * 10**12 }}",
      loops,
      deep,
      many + " }}",
      blocks,
      negations + "1 }}",
      "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
      "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
      "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ "
      "ns.s }}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s=[]) %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s "
      "}}",
      "{% set ns = namespace(s=[]) %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s "
      "== ns.s + [] }}{{ ns.s | tojson }}",
      "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}{{ ns | tojson }}{{ ns == ns }}",
      "{{ 'a'.join('b' * 1000).join('c' * 1000).join('d' * 1000) }}",
      "{{ ('a' * 1000).replace('', 'b' * 1000).replace('', 'c' * 1000) }}",
      "{{ ('a\n' * 100000) | indent(1000) }}",
      "{{ range(99999) | map('string') | join('x' * 9999) }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ 2 ** 9999999999 }}",
      "{{ 1 ** 999999999999 * 2 ** 64 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{{ 1 % 0 }}",
      "{{ strftime_now('%c' * 1000) }}",
      std::string(2 << 20, 'x')};
  for (const std::string& source : hostile) {
    const std::clock_t start = std::clock();  // of this program: others may be at work beside it
    EXPECT_EQ(refusal(source).substr(0, 13), "chat template") << source.substr(0, 80);
    EXPECT_LT(std::clock() - start, 10 * CLOCKS_PER_SEC) << source.substr(0, 80);
  }
}

TEST(Jinja, TheDayIsAlwaysTheSame) {
  EXPECT_EQ(rendered("{{ strftime_now('%A, %d %B %Y %H:%M:%S') }}"), "Friday, 26 July 2024 00:00:00");
}

TEST(Jinja, ALongConversationIsNoHostileTemplate) {
  Json messages = Json::array();
  for (int i = 0; i < 200; ++i)
    messages.push_back({{"role", i % 2 ? "assistant" : "user"}, {"content", std::string(20'000, 'x')}});
  EXPECT_GT(
      rendered(
          "{% for m in messages %}{{ m.role + ': ' + m.content.split('</think>')[-1] | trim }}\n{% endfor %}",
          {{"messages", messages}})
          .size(),
      4'000'000u);
}

}  // namespace
}  // namespace cai
