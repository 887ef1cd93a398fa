#include "cai/data/constitution.hpp"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/data/answer_check_yaml.hpp"
#include "cai/data/check_from_text.hpp"
#include "cai/data/yaml_section.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

std::string first_lower(std::string s) {
  if (s.size() > 1 && s[0] >= 'A' && s[0] <= 'Z' && !(s[1] >= 'A' && s[1] <= 'Z'))
    s[0] = static_cast<char>(s[0] - 'A' + 'a');
  return s;
}

std::string without_full_stop(std::string s) {
  while (s.ends_with('.'))
    s.pop_back();
  return s;
}

void read_tests(YamlSection& s, Principle& p) {
  s.maps("tests", [&](YamlSection& t) {
    PrincipleTest test;
    test.prompt = t.text("prompt", true);
    const YAML::Node must = t.find("must");
    test.words = t.texts("words");
    if (must.IsDefined() && must.IsMap() && must.size() == 1 &&
        must.begin()->second.IsSequence()) {  // must: {mention: [...]}
      test.must = must.begin()->first.as<std::string>("");
      for (const auto& w : must.begin()->second)
        test.words.push_back(w.as<std::string>(""));
    } else if (must.IsDefined() && must.IsScalar()) {
      test.must = must.Scalar();
    }
    static const std::set<std::string> accepted = {"refuse", "help", "mention", "avoid"};
    if (!accepted.count(test.must))
      t.problem("\"must\": found " + in_quotes(test.must) + "; accepted: refuse, help, mention, avoid");
    if ((test.must == "mention" || test.must == "avoid") && test.words.empty())
      t.problem("\"must: " + test.must + "\" needs a list of words");
    for (const std::string& word : test.words)
      if (trim(word).empty()) t.problem("\"must: " + test.must + "\": a word is empty");
    p.tests.push_back(std::move(test));
  });
}

}  // namespace

bool Principle::applies(const std::vector<std::string>& tags) const {
  if (applies_to.empty()) return true;
  return std::any_of(tags.begin(), tags.end(), [&](const std::string& t) {
    return std::find(applies_to.begin(), applies_to.end(), t) != applies_to.end();
  });
}

const Principle& Constitution::principle(std::string_view id) const {
  for (const Principle& p : principles)
    if (p.id == id) return p;
  throw Bug("no principle \"" + std::string(id) + "\"");
}

Principle with_wordings(Principle p) {
  const std::string rule = without_full_stop(first_lower(p.text));
  if (p.critique.empty())
    p.critique =
        "Say in one or two sentences where the assistant's last answer fails this principle: " + rule + ".";
  if (p.revision.empty())
    p.revision = "Rewrite the assistant's last answer so that it follows this principle: " + rule + ".";
  if (p.compare.empty())
    p.compare = "Which answer follows this principle better: " + rule +
                "? An answer that dodges a fair question without a reason does not follow it better.";
  if (p.opposite.empty())
    p.opposite =
        "You are a careless assistant. You do not care about this rule and answer as if it did not exist: " +
        rule + ".";
  return p;
}

std::string derived_system(const Constitution& c) {
  std::string system = "You are a careful assistant. You follow these principles:";
  for (const Principle& p : c.principles)
    system += " " + without_full_stop(p.text) + ".";
  return system;
}

namespace {

// The rules that the principle's text says plainly.
void derive_check(Principle& p, const std::string& file) {
  const std::string rules = check_from_text(p.text);
  if (rules.empty()) return;
  YAML::Node node;
  node["check"] = YAML::Load(rules);
  std::vector<std::string> problems;
  YamlSection section(node, "derived check", file, problems);
  p.check = read_check(section, "check");
  p.check_is_derived = true;
  if (!problems.empty()) throw Bug("check derived from " + in_quotes(p.text) + ": " + problems.front());
}

}  // namespace

Constitution read_constitution(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path) || std::filesystem::is_directory(path))
    throw InputError(path.string(), 0, "no such constitution file");
  Constitution c;
  c.file = path.string();
  c.name = path.stem().string();
  c.version = "1.0.0";
  c.source = read_file(path);
  c.sha256 = sha256(c.source);
  if (c.source.size() > 5'000'000) throw InputError(c.file, 0, "larger than 5 MB");
  if (!is_utf8(c.source)) throw InputError(c.file, 0, "not valid UTF-8");
  YAML::Node root;
  try {
    root = YAML::Load(c.source);
  } catch (const YAML::Exception& e) {
    throw InputError(
        c.file, std::max(e.mark.line + 1, 1),
        std::string("not valid YAML: ") +
            (e.msg == YAML::ErrorMsg::BAD_FILE ? "nested too deeply" : one_line(e.msg.substr(0, 200))));
  }
  std::vector<std::string> problems;
  std::set<std::string> ids;
  const auto add = [&](Principle p, const YAML::Node& at) {
    if (p.id.empty()) p.id = "p" + std::to_string(c.principles.size() + 1);
    p.line = at.Mark().line + 1;
    if (!ids.insert(p.id).second)
      problems.push_back(c.file + ":" + std::to_string(p.line) + ": duplicate principle id " +
                         in_quotes(p.id));
    if (p.check.empty() && !p.has_no_check) derive_check(p, c.file);
    c.principles.push_back(with_wordings(std::move(p)));
  };
  const auto sentence = [&](const YAML::Node& entry) {
    const std::string text = entry.IsScalar() ? trim(entry.Scalar()) : "",
                      where = c.file + ":" + std::to_string(entry.Mark().line + 1) + ": ";
    if (text.empty()) problems.push_back(where + "expected a sentence");
    if (text.size() > YamlSection::kLongestText)
      problems.push_back(where + "this sentence has " + std::to_string(text.size()) +
                         " bytes; accepted: at most " + std::to_string(YamlSection::kLongestText));
    return text;
  };
  if (root.IsSequence()) {
    for (const auto& entry : root)
      add({.text = sentence(entry)}, entry);
  } else if (root.IsMap()) {
    YamlSection top(root, "", c.file, problems);
    if (const std::string name = top.text("name"); !name.empty()) c.name = name;
    if (const std::string version = top.text("version"); !version.empty()) c.version = version;
    top.text("description");
    c.system = top.text("system");
    const YAML::Node list = top.find("principles");
    if (!list.IsDefined() || !list.IsSequence()) {
      top.problem("no list \"principles\"");
    } else {
      for (const auto& entry : list) {
        if (entry.IsScalar()) {
          add({.text = sentence(entry)}, entry);
          continue;
        }
        if (!entry.IsMap()) {
          top.problem(entry, "a principle is a sentence or a section with \"id\" and \"text\"");
          continue;
        }
        YamlSection s(entry, "principle " + std::to_string(c.principles.size() + 1), c.file, problems);
        Principle p;
        p.id = s.text("id");
        p.text = s.text("text", true);
        p.critique = s.text("critique");
        p.revision = s.text("revision");
        p.compare = s.text("compare");
        p.opposite = s.text("opposite");
        p.priority = static_cast<int>(s.number("priority", 1, 1, 1000));
        p.weight = s.number("weight", 1, 0, 1000);
        p.hard = s.flag("hard");
        p.applies_to = s.texts("applies_to");
        p.revision_openings = s.texts("revision_openings");
        const YAML::Node check = s.find("check");
        p.has_no_check = check.IsDefined() && check.IsScalar() && check.Scalar() == "none";
        if (!p.has_no_check) p.check = read_check(s, "check");
        read_tests(s, p);
        s.finish();
        add(std::move(p), entry);
      }
    }
    const YAML::Node examples = top.find("examples");
    if (examples.IsDefined()) {
      if (!examples.IsMap()) {
        top.problem(examples, "\"examples\" must hold \"critique\" and \"label\"");
      } else {
        YamlSection s(examples, "examples", c.file, problems);
        const auto know = [&](YamlSection& e, const std::string& id) {
          if (id.empty() || ids.contains(id)) return;
          const std::string near = nearest(id, {ids.begin(), ids.end()});
          e.problem("\"principle\": there is no principle " + in_quotes(id) +
                    (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
        };
        s.maps("critique", [&](YamlSection& e) {
          c.critique_examples.push_back({e.text("prompt", true), e.text("response", true),
                                         e.text("critique", true), e.text("revision", true),
                                         e.text("principle")});
          know(e, c.critique_examples.back().principle);
        });
        s.maps("label", [&](YamlSection& e) {
          LabelExample x{e.text("prompt", true), e.text("a", true),      e.text("b", true),
                         e.text("better", true), e.text("reason", true), e.text("principle")};
          know(e, x.principle);
          if (x.better != "A" && x.better != "B") e.problem("\"better\": accepted: A, B");
          c.label_examples.push_back(x);
        });
        s.finish();
      }
    }
    top.finish();
  } else {
    throw InputError(c.file, 1, "expected a list of sentences, or fields with a list \"principles\"");
  }
  if (c.principles.empty() && problems.empty()) problems.push_back(c.file + ":1: no principles");
  throw_problems(problems);
  if (c.system.empty()) c.system = derived_system(c);
  return c;
}

Json to_json(const Constitution& c) {
  Json j = {{"name", c.name}, {"version", c.version}, {"sha256", c.sha256}, {"principles", Json::array()}};
  for (const Principle& p : c.principles) {
    Json tests = Json::array();
    for (const PrincipleTest& t : p.tests)
      tests.push_back({{"prompt", t.prompt}, {"must", t.must}, {"words", t.words}});
    j["principles"].push_back({{"id", p.id},
                               {"text", p.text},
                               {"critique", p.critique},
                               {"revision", p.revision},
                               {"compare", p.compare},
                               {"opposite", p.opposite},
                               {"priority", p.priority},
                               {"weight", p.weight},
                               {"hard", p.hard},
                               {"applies_to", p.applies_to},
                               {"revision_openings", p.revision_openings},
                               {"check", p.check.source},
                               {"tests", tests}});
  }
  return j;
}

}  // namespace cai
