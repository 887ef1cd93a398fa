#include "cai/data/lint.hpp"

#include <algorithm>
#include <functional>
#include <set>

#include "cai/base/text.hpp"
#include "cai/data/similarity.hpp"
#include "cai/data/tags.hpp"

namespace cai {
namespace {

constexpr std::size_t kLongest = 80;  // words of a principle
constexpr std::size_t kRequestTokens =
    2000;                             // half of the smallest context of the supported models (Llama 2: 4096)
constexpr double kBytesPerToken = 4;  // of English text in the supported vocabularies, roughly

using Words = std::vector<std::string>;

bool is_negation(const std::string& word) {
  static const std::set<std::string> words = {"not",     "never", "no",     "avoid", "refrain",
                                              "without", "dont",  "cannot", "cant",  "refuse"};
  return words.count(word) > 0;
}

// First five letters of the words of content: "harming" and "harm" do not meet, "refuse" and "refused" do.
std::set<std::string> stems(const std::string& text) {
  std::set<std::string> found;
  for (const std::string& word : words_of(text))
    if (!is_function_word(word) && !is_negation(word) && word != "answer" && word != "better" &&
        word != "always")
      found.insert(word.substr(0, 5));
  return found;
}

double overlap(const std::string& a, const std::string& b) {
  const std::set<std::string> x = stems(a), y = stems(b);
  std::size_t common = 0;
  for (const std::string& word : x)
    common += y.count(word);
  const std::size_t all = x.size() + y.size() - common;
  return all == 0 ? 0 : static_cast<double>(common) / static_cast<double>(all);
}

bool is_negative(const std::string& text) {
  const Words words = words_of(text);
  return std::any_of(words.begin(),
                     words.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(4, words.size())),
                     is_negation);
}

// Words that two people read in two ways, and that no test can decide.
std::string vague_word(const std::string& text) {
  static const std::set<std::string> vague = {
      "appropriate", "appropriately", "inappropriate", "proper",      "properly",    "suitable", "reasonable",
      "reasonably",  "adequate",      "adequately",    "good",        "bad",         "nice",     "best",
      "ethical",     "ethically",     "moral",         "responsible", "responsibly", "quality",  "generally",
      "usually",     "sometimes",     "etc",           "somehow",     "things",      "stuff",    "optimal",
      "relevant",    "sensible",      "acceptable",    "unacceptable"};
  for (const std::string& word : words_of(text))
    if (vague.count(word)) return word;
  return "";
}

// Verbs that begin a duty of their own after "and", ";" or a full stop.
bool begins_duty(const std::string& word) {
  static const std::set<std::string> verbs = {
      "say",   "tell",    "give", "explain", "answer",  "offer",   "point", "name",  "do",
      "never", "avoid",   "stay", "keep",    "help",    "protect", "ask",   "write", "use",
      "show",  "admit",   "warn", "refuse",  "decline", "respect", "leave", "treat", "be",
      "cite",  "suggest", "stop", "promise", "always",  "check",   "send",  "meet",  "make"};
  return verbs.count(word) > 0;
}

// The words with which a second duty begins, or "".
std::string second_duty(const std::string& text) {
  for (const std::string mark : {". ", "; ", ", and ", " and ", ", never ", ", but "}) {
    for (std::size_t at = text.find(mark); at != text.npos; at = text.find(mark, at + 1)) {
      const std::string rest = text.substr(mark == ", never " ? at + 2 : at + mark.size());
      const Words words = words_of(rest);
      if (words.size() >= 2 && begins_duty(words[0]))
        return rest.size() > 40 ? rest.substr(0, rest.rfind(' ', 40)) + " ..."
                                : rest.substr(0, rest.find_last_not_of('.') + 1);
    }
  }
  return "";
}

// Applies to requests that are not to be declined, and to no others. Untagged requests count as ordinary.
bool is_for_harmless_only(const Principle& p) {
  return !p.applies_to.empty() &&
         std::all_of(p.applies_to.begin(), p.applies_to.end(),
                     [](const std::string& t) { return t == "ordinary" || t == "borderline"; });
}

double tokens(const std::string& text) {
  return static_cast<double>(text.size()) / kBytesPerToken;
}

void compare_with_earlier(const Constitution& c, std::size_t i,
                          const std::function<void(const char*, bool, const std::string&)>& add) {
  const Principle& p = c.principles[i];
  for (std::size_t j = 0; j < i; ++j) {
    const Principle& q = c.principles[j];
    const std::string other = "\"" + q.id + "\" (line " + std::to_string(q.line) + ")";
    const double alike = overlap(p.text, q.text);
    if (words_of(p.text) == words_of(q.text))
      add("duplicate", true, "says the same as " + other + "; keep one, its weight says how much it counts");
    else if (alike > 0.6 && is_negative(p.text) != is_negative(q.text))
      add("contradiction", true,
          "seems to ask for the opposite of " + other +
              "; say in both when each holds (applies_to), or which goes first (priority)");
    else if (alike > 0.6)
      add("near-duplicate", true,
          "says nearly the same as " + other + "; two of them count twice in every average");
    else if (words_of(p.compare) == words_of(q.compare))
      add("near-duplicate", true,
          "asks the same comparison as " + other + ": their verdicts will be the same");
  }
}

}  // namespace

std::vector<Remark> lint(const Constitution& c) {
  std::vector<Remark> remarks;
  double shared = tokens(c.system);
  for (const CritiqueExample& e : c.critique_examples)
    shared += tokens(e.prompt + e.response + e.critique + e.revision);
  double labels = 0;
  for (const LabelExample& e : c.label_examples)
    labels += tokens(e.prompt + e.a + e.b + e.reason);
  shared = std::max(shared, labels);
  if (shared > kRequestTokens)
    remarks.push_back({1, "", "too-long", true,
                       "its system text and examples take about " +
                           std::to_string(static_cast<long>(shared)) + " tokens of every request; at most " +
                           std::to_string(kRequestTokens) +
                           " leave room for answers in a context of 4096. Shorten them, or set "
                           "critique.examples and label.examples lower"});
  for (std::size_t i = 0; i < c.principles.size(); ++i) {
    const Principle& p = c.principles[i];
    const auto add = [&](const char* kind, bool is_problem, const std::string& text) {
      remarks.push_back({p.line, p.id, kind, is_problem, text});
    };
    if (p.check_is_derived)
      add("verified", false,
          "is verified by a program, by rules taken from its text: " + p.check.source +
              ". To change them write `check:`; `check: none` leaves it to the judge");
    const std::size_t words = words_of(p.text).size();
    compare_with_earlier(c, i, add);
    if (words < 4)
      add("too-short", true,
          "is " + std::to_string(words) +
              " words long; say what an answer does, so that two people would judge alike");
    if (words > kLongest)
      add("too-long", true,
          "is " + std::to_string(words) + " words long; small models lose the thread past " +
              std::to_string(kLongest) + ". Split it");
    for (const auto& [name, text] : {std::pair<const char*, const std::string&>{"critique", p.critique},
                                     {"revision", p.revision},
                                     {"compare", p.compare},
                                     {"opposite", p.opposite}})
      if (tokens(text) + shared > kRequestTokens && shared <= kRequestTokens)
        add("too-long", true,
            std::string("its ") + name + " makes a request of about " +
                std::to_string(static_cast<long>(tokens(text) + shared)) +
                " tokens with the examples; at most " + std::to_string(kRequestTokens) +
                " leave room for answers in a context of 4096");
    if (const std::string word = vague_word(p.text); !word.empty())
      add("vague", true,
          "\"" + word + "\" can be read in more than one way; name what such an answer does or leaves out");
    for (const std::string& tag : p.applies_to)
      if (const std::string kind = meant_kind(tag); !kind.empty())
        add("mistyped-tag", true,
            "applies to the tag " + in_quotes(tag) + ", which is no kind; did you mean \"" + kind + "\"?");
    if (p.tests.empty() && p.check.empty())
      add("no-tests", true,
          "has neither a check nor tests: eval cannot tell whether it holds, and the exam cannot ask a judge "
          "about it");
    const auto demands = [&](const char* must) {
      return std::any_of(p.tests.begin(), p.tests.end(),
                         [&](const PrincipleTest& t) { return t.must == must; });
    };
    if (demands("refuse") &&
        p.tests.size() ==
            static_cast<std::size_t>(std::count_if(
                p.tests.begin(), p.tests.end(), [](const PrincipleTest& t) { return t.must == "refuse"; })))
      add("one-sided-tests", false,
          "a model that refuses everything passes all of its tests; add a harmless look-alike with must: "
          "help");
    if (const std::string second = second_duty(p.text); !second.empty() && p.check.empty())
      add("two-duties", false,
          "asks for two things (the second: \"" + second +
              "\"): a verdict cannot say which one failed. Split it, unless the second only says how to do "
              "the first");
    if (is_for_harmless_only(p) && p.check.empty())
      add("trains-nothing", false,
          "has no check and is for harmless requests only: it trains nothing unless a model that can judge "
          "is "
          "named (--feedback MODEL, with critique.harmless=true). A check would train it with any model");
    if (is_negative(p.text) && p.check.empty())
      add("negative", false,
          "is a prohibition: a clear line, which refusing everything keeps too. Positive wordings match "
          "people's preferences better, negative ones are learned better (Kyrychenko et al. 2025)");
  }
  return remarks;
}

}  // namespace cai
