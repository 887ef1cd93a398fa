#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>

#include "cai/base/regex.hpp"
#include "cai/base/text.hpp"
#include "cai/data/answer_check.hpp"

namespace cai {
namespace {

constexpr std::size_t kFewestWords = 4;  // of the Latin script, below which nothing is said
constexpr double kLeastShare =
    0.12;  // of the words that are common words of the language; in running text it is 0.3 and more

struct CommonWords {
  const char* language;
  std::set<std::string> words;
};

// The commonest words of each language that are not common in the others.
const std::vector<CommonWords>& latin_languages() {
  static const std::vector<CommonWords> all = {
      {"en", {"the",  "and",   "of",   "to",   "is",  "that", "you",   "it",    "for",  "with",   "are",
              "this", "be",    "your", "have", "can", "not",  "from",  "they",  "what", "how",    "if",
              "will", "there", "we",   "i",    "but", "or",   "which", "their", "when", "should", "my"}},
      {"de", {"der", "die",  "und",  "das",   "ist",  "nicht", "ein", "eine", "zu",   "den",  "mit",
              "sie", "ich",  "auf",  "für",   "im",   "dem",   "es",  "wie",  "sich", "auch", "von",
              "wir", "sind", "kann", "einen", "oder", "aber",  "bei", "wenn", "ihr"}},
      {"fr", {"le",   "les",  "et",  "est",  "une",   "des", "vous", "que",   "pour", "dans",
              "qui",  "ne",   "pas", "sur",  "avec",  "il",  "je",   "votre", "ce",   "au",
              "plus", "sont", "du",  "nous", "cette", "ou",  "aux",  "être",  "mais"}},
      {"es", {"el",  "los", "y",    "es",  "una",  "que",  "para",  "con", "no", "las",   "por", "su", "se",
              "del", "lo",  "como", "más", "pero", "está", "usted", "muy", "al", "puede", "son", "hay"}},
      {"it", {"il", "di",    "che",  "è",   "per",  "una", "non",    "con", "gli", "sono", "della", "si",
              "le", "anche", "come", "più", "puoi", "ma",  "questo", "del", "nel", "lo",   "alla",  "ha"}},
      {"pt", {"o",  "de",  "que", "e",    "não",  "uma", "para", "com", "os",  "do", "da",  "você", "em",
              "um", "são", "é",   "mais", "como", "se",  "por",  "as",  "dos", "ao", "mas", "pode"}},
      {"nl", {"de",   "het", "een", "en", "van", "is",  "dat",  "niet", "je",  "op",  "te",    "voor", "met",
              "zijn", "ik",  "aan", "er", "ook", "als", "maar", "om",   "bij", "kan", "wordt", "naar"}},
  };
  return all;
}

struct Script {
  const char* language;
  const char* letters;
};

// Scripts that tell the language by themselves; the first that holds a third of the letters counts. Japanese
// stands before Chinese: it has Han characters too.
constexpr std::array kScripts = {
    Script{"ja", "[\\p{Hiragana}\\p{Katakana}]"},
    Script{"zh", "\\p{Han}"},
    Script{"ko", "\\p{Hangul}"},
    Script{"ru", "\\p{Cyrillic}"},
    Script{"ar", "\\p{Arabic}"},
    Script{"el", "\\p{Greek}"},
    Script{"he", "\\p{Hebrew}"},
    Script{"hi", "\\p{Devanagari}"},
    Script{"th", "\\p{Thai}"},
};

std::string language_by_script(std::string_view text) {
  static const Regex letter("\\p{L}");
  static const std::vector<Regex> patterns = [] {
    std::vector<Regex> all;
    for (const Script& script : kScripts)
      all.emplace_back(script.letters);
    return all;
  }();
  const std::size_t letters = letter.all(text).size();
  if (letters == 0) return "";
  for (std::size_t i = 0; i < kScripts.size(); ++i) {
    const bool japanese = i == 0;  // a fifth of kana is enough beside Han
    if (patterns[i].all(text).size() * (japanese ? 5 : 3) >= letters) return kScripts[i].language;
  }
  return "";
}

std::string language_by_words(std::string_view text) {
  const std::vector<std::string> words = words_of(text);
  if (words.size() < kFewestWords) return "";
  std::string best;
  double most = 0;
  for (const CommonWords& candidate : latin_languages()) {
    const auto common = std::count_if(words.begin(), words.end(),
                                      [&](const std::string& w) { return candidate.words.count(w) > 0; });
    const double share = static_cast<double>(common) / static_cast<double>(words.size());
    if (share > most) {
      most = share;
      best = candidate.language;
    }
  }
  return most >= kLeastShare ? best : "";
}

}  // namespace

std::string language_of(std::string_view text) {
  const std::string by_script = language_by_script(text);
  return by_script.empty() ? language_by_words(text) : by_script;
}

const std::vector<std::string>& known_languages() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> codes;
    for (const CommonWords& language : latin_languages())
      codes.emplace_back(language.language);
    for (const Script& script : kScripts)
      codes.emplace_back(script.language);
    return codes;
  }();
  return all;
}

}  // namespace cai
