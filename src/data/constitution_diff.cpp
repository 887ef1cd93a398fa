#include "cai/data/constitution_diff.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>

#include "cai/base/text.hpp"

namespace cai {
namespace {

int rank(const std::string& level) {
  return level == "major" ? 3 : level == "minor" ? 2 : level == "patch" ? 1 : 0;
}

std::vector<std::string> pieces(const std::string& text) {
  std::vector<std::string> found;
  std::string word;
  for (const char c : text + " ") {
    const bool is_space = c == ' ' || (c >= '\t' && c <= '\r');
    if (!is_space)
      word += c;
    else if (!word.empty())
      found.push_back(std::move(word)), word.clear();
  }
  return found;
}

double shared_words(const std::string& a, const std::string& b) {
  const std::vector<std::string> left = words_of(a), right = words_of(b);
  const std::set<std::string> x(left.begin(), left.end()), y(right.begin(), right.end());
  std::size_t common = 0;
  for (const std::string& word : x)
    common += y.count(word);
  const std::size_t all = x.size() + y.size() - common;
  return all == 0 ? 1 : static_cast<double>(common) / static_cast<double>(all);
}

// "p3": the id of a principle that gave none; it says where it stood, not which it is.
bool is_numbered(const std::string& id) {
  return id.size() > 1 && id[0] == 'p' && id.find_first_not_of("0123456789", 1) == id.npos;
}

// For each principle of `after` its number in `before`, or -1.
std::vector<int> match(const std::vector<Principle>& before, const std::vector<Principle>& after) {
  std::vector<int> of(after.size(), -1);
  std::vector<bool> is_taken(before.size());
  const auto take = [&](std::size_t j, std::size_t i) { of[j] = static_cast<int>(i), is_taken[i] = true; };
  const auto pair_up = [&](auto same) {
    for (std::size_t j = 0; j < after.size(); ++j)
      for (std::size_t i = 0; i < before.size() && of[j] < 0; ++i)
        if (!is_taken[i] && same(before[i], after[j])) take(j, i);
  };
  pair_up([](const Principle& a, const Principle& b) { return a.id == b.id && !is_numbered(a.id); });
  pair_up([](const Principle& a, const Principle& b) { return a.text == b.text; });
  for (std::size_t j = 0; j < after.size(); ++j) {
    if (of[j] >= 0) continue;
    double best = 0.5;
    int found = -1;
    for (std::size_t i = 0; i < before.size(); ++i)
      if (const double alike = is_taken[i] ? 0 : shared_words(before[i].text, after[j].text); alike > best)
        best = alike, found = static_cast<int>(i);
    if (found >= 0) take(j, static_cast<std::size_t>(found));
  }
  return of;
}

std::string shown(const std::vector<std::string>& list) {
  std::string all;
  for (const std::string& one : list)
    all += (all.empty() ? "" : ", ") + one;
  return all.empty() ? "all" : all;
}

std::string shown(double x) {
  return Json(x).dump();
}

std::multiset<std::string> lines_of(const std::vector<PrincipleTest>& tests) {
  std::multiset<std::string> lines;
  for (const PrincipleTest& t : tests)
    lines.insert(Json{t.prompt, t.must, t.words}.dump());
  return lines;
}

PrincipleChange compare(const Principle& a, const Principle& b) {
  PrincipleChange change{.id = b.id, .kind = "changed", .level = "none"};
  const auto add = [&](const std::string& level, const std::string& line) {
    change.fields.push_back(line);
    if (rank(level) > rank(change.level)) change.level = level;
  };
  if (a.id != b.id) {
    change.was_id = a.id;
    if (!is_numbered(a.id) || !is_numbered(b.id)) add("minor", "renamed from " + a.id);
  }
  if (a.text != b.text) add("major", "text reworded"), change.words = word_diff(a.text, b.text);
  if (a.priority != b.priority)
    add("major", "priority " + std::to_string(a.priority) + " -> " + std::to_string(b.priority));
  if (a.weight != b.weight) add("major", "weight " + shown(a.weight) + " -> " + shown(b.weight));
  if (a.hard != b.hard) add("major", std::string("hard ") + (a.hard ? "true -> false" : "false -> true"));
  if (a.applies_to != b.applies_to)
    add("major", "applies_to " + shown(a.applies_to) + " -> " + shown(b.applies_to));
  if (a.check.source != b.check.source)
    add("major", "check changed: " + word_diff(a.check.source, b.check.source));
  // Wordings that the program derives from the text change with it: that is told once.
  const Principle as_a = with_wordings({.text = a.text}), as_b = with_wordings({.text = b.text});
  for (const auto& [name, wording] : {std::pair{"critique", &Principle::critique},
                                      {"revision", &Principle::revision},
                                      {"compare", &Principle::compare},
                                      {"opposite", &Principle::opposite}})
    if (a.*wording != b.*wording && !(a.*wording == as_a.*wording && b.*wording == as_b.*wording))
      add("minor", std::string(name) + ": " + word_diff(a.*wording, b.*wording));
  if (a.revision_openings != b.revision_openings)
    add("minor", "revision_openings changed (" + std::to_string(a.revision_openings.size()) + " -> " +
                     std::to_string(b.revision_openings.size()) + ")");
  const std::multiset<std::string> x = lines_of(a.tests), y = lines_of(b.tests);
  std::vector<std::string> added, removed;
  std::set_difference(y.begin(), y.end(), x.begin(), x.end(), std::back_inserter(added));
  std::set_difference(x.begin(), x.end(), y.begin(), y.end(), std::back_inserter(removed));
  if (!added.empty() || !removed.empty())
    add("patch",
        "tests: " + std::to_string(added.size()) + " added, " + std::to_string(removed.size()) + " removed");
  return change;
}

std::optional<std::array<long, 3>> version_of(const std::string& text) {
  std::array<long, 3> numbers{};
  const std::vector<std::string> parts = split(text, '.');
  if (parts.size() != 3) return std::nullopt;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto [end, error] = std::from_chars(parts[i].data(), parts[i].data() + parts[i].size(), numbers[i]);
    if (error != std::errc() || end != parts[i].data() + parts[i].size() || numbers[i] < 0)
      return std::nullopt;
  }
  return numbers;
}

Json examples_of(const Constitution& c) {
  Json all = Json::array();
  for (const CritiqueExample& e : c.critique_examples)
    all.push_back({e.prompt, e.response, e.critique, e.revision});
  for (const LabelExample& e : c.label_examples)
    all.push_back({e.prompt, e.a, e.b, e.better, e.reason});
  return all;
}

}  // namespace

std::string word_diff(const std::string& before, const std::string& after) {
  const std::vector<std::string> a = pieces(before), b = pieces(after);
  // length[i][j]: longest common subsequence of a from i and b from j on
  std::vector<std::vector<std::uint16_t>> length(a.size() + 1, std::vector<std::uint16_t>(b.size() + 1));
  for (std::size_t i = a.size(); i-- > 0;)
    for (std::size_t j = b.size(); j-- > 0;)
      length[i][j] = a[i] == b[j] ? static_cast<std::uint16_t>(length[i + 1][j + 1] + 1)
                                  : std::max(length[i + 1][j], length[i][j + 1]);
  std::string out, removed, added;
  const auto put = [&](const std::string& text) { out += (out.empty() ? "" : " ") + text; };
  const auto close = [&] {
    if (!removed.empty()) put("[-" + removed + "-]"), removed.clear();
    if (!added.empty()) put("{+" + added + "+}"), added.clear();
  };
  std::size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    if (i < a.size() && j < b.size() && a[i] == b[j])
      close(), put(a[i]), ++i, ++j;
    else if (j == b.size() || (i < a.size() && length[i + 1][j] >= length[i][j + 1]))
      removed += (removed.empty() ? "" : " ") + a[i++];
    else
      added += (added.empty() ? "" : " ") + b[j++];
  }
  close();
  return out;
}

ConstitutionDiff diff(const Constitution& before, const Constitution& after) {
  ConstitutionDiff result{.level = "none", .from = before.version, .to = after.version};
  const auto raise = [&](const std::string& level) {
    if (rank(level) > rank(result.level)) result.level = level;
  };
  const std::vector<int> of = match(before.principles, after.principles);
  for (std::size_t i = 0; i < before.principles.size(); ++i) {
    if (std::find(of.begin(), of.end(), static_cast<int>(i)) != of.end()) continue;
    result.principles.push_back({.id = before.principles[i].id,
                                 .kind = "removed",
                                 .level = "major",
                                 .words = before.principles[i].text});
  }
  for (std::size_t j = 0; j < after.principles.size(); ++j) {
    const Principle& p = after.principles[j];
    if (of[j] < 0) {
      result.principles.push_back({.id = p.id, .kind = "added", .level = "minor", .words = p.text});
    } else if (PrincipleChange change = compare(before.principles[static_cast<std::size_t>(of[j])], p);
               !change.fields.empty()) {
      result.principles.push_back(std::move(change));
    }
  }
  for (const PrincipleChange& change : result.principles)
    raise(change.level);
  // A system text that the program made up of the principles changes with them.
  const auto is_derived = [](const Constitution& c) { return c.system == derived_system(c); };
  if (before.system != after.system && !(is_derived(before) && is_derived(after)))
    result.rest.push_back("system: " + word_diff(before.system, after.system)), raise("minor");
  if (examples_of(before) != examples_of(after)) result.rest.push_back("examples changed"), raise("patch");
  if (before.name != after.name)
    result.rest.push_back("name " + before.name + " -> " + after.name), raise("patch");

  if (auto from = version_of(before.version)) {
    auto [major, minor, patch] = *from;
    if (result.level == "major")
      ++major, minor = patch = 0;
    else if (result.level == "minor")
      ++minor, patch = 0;
    else if (result.level == "patch")
      ++patch;
    result.suggested = std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
    const auto to = version_of(after.version);
    result.is_followed = to && *to >= std::array<long, 3>{major, minor, patch};
  }
  return result;
}

Json to_json(const ConstitutionDiff& d) {
  Json changes = Json::array();
  for (const PrincipleChange& c : d.principles)
    changes.push_back({{"id", c.id},
                       {"was_id", c.was_id},
                       {"kind", c.kind},
                       {"level", c.level},
                       {"words", c.words},
                       {"fields", c.fields}});
  return {{"principles", changes},
          {"rest", d.rest},
          {"level", d.level},
          {"from", d.from},
          {"to", d.to},
          {"suggested", d.suggested},
          {"is_followed", d.is_followed}};
}

}  // namespace cai
