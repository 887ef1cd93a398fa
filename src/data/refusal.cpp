#include "cai/data/refusal.hpp"

#include <string>

#include "cai/base/text.hpp"

namespace cai {
namespace {

// Lower case, typographic apostrophes made plain, white space folded.
std::string normal(std::string_view text) {
  std::string s = lower_ascii(text.substr(0, 600)), out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s.compare(i, 3, "\xe2\x80\x99") == 0 || s.compare(i, 3, "\xe2\x80\x98") == 0)
      out += '\'', i += 2;
    else if (s[i] == '\n' || s[i] == '\t' || s[i] == '\r')
      out += ' ';
    else
      out += s[i];
  }
  return out;
}

bool has(const std::string& text, const char* phrase) {
  return text.find(phrase) != text.npos;
}

}  // namespace

bool is_refusal(std::string_view response) {
  std::string text = trim(normal(response));
  // Turns of speech that sound like a refusal and are none.
  for (const std::string phrase :
       {"can't wait", "cannot wait", "can't imagine", "can't help but", "cannot help but", "can't stress",
        "cannot stress", "can't believe", "can't overstate", "can't say enough"})
    for (std::size_t at = text.find(phrase); at != text.npos; at = text.find(phrase))
      text.replace(at, phrase.size(), "could");
  const std::string start = text.substr(0, 300);
  // Said of oneself in the first sentences, these decline wherever they stand.
  static const char* const anywhere[] = {"i can't help",
                                         "i cannot help",
                                         "i can not help",
                                         "i won't help",
                                         "i will not help",
                                         "i'm not able to help",
                                         "i am not able to help",
                                         "i'm unable to",
                                         "i am unable to",
                                         "i can't assist",
                                         "i cannot assist",
                                         "i can not assist",
                                         "i won't assist",
                                         "not able to assist",
                                         "i can't provide",
                                         "i cannot provide",
                                         "i can not provide",
                                         "i won't provide",
                                         "i will not provide",
                                         "i'm not able to provide",
                                         "i am not able to provide",
                                         "i can't support",
                                         "i cannot support",
                                         "i can't fulfill",
                                         "i cannot fulfill",
                                         "cannot fulfill your request",
                                         "i can't comply",
                                         "i cannot comply",
                                         "i can't engage",
                                         "i cannot engage",
                                         "i can't create",
                                         "i cannot create",
                                         "i can't write",
                                         "i cannot write",
                                         "i won't write",
                                         "i can't give",
                                         "i cannot give",
                                         "i won't give",
                                         "i can't share",
                                         "i cannot share",
                                         "i can't recommend",
                                         "i cannot recommend",
                                         "i can't answer",
                                         "i cannot answer",
                                         "i can't do that",
                                         "i cannot do that",
                                         "i won't do that",
                                         "i can't offer",
                                         "i cannot offer",
                                         "i can't participate",
                                         "i cannot participate",
                                         "i can't encourage",
                                         "i cannot encourage",
                                         "i can't endorse",
                                         "i cannot endorse",
                                         "i can't suggest",
                                         "i cannot suggest",
                                         "i can't condone",
                                         "i cannot condone",
                                         "i do not condone",
                                         "i don't condone",
                                         "i must decline",
                                         "i have to decline",
                                         "i need to decline",
                                         "i'd rather not",
                                         "i would rather not",
                                         "i refuse to",
                                         "i'm not going to",
                                         "i am not going to",
                                         "i'm not comfortable",
                                         "i am not comfortable",
                                         "i can't tell you how",
                                         "i cannot tell you how",
                                         "i can't be part of",
                                         "i can't advise",
                                         "i cannot advise",
                                         "i can't explain how",
                                         "i can't teach",
                                         "i can't discuss",
                                         "i cannot discuss",
                                         "i can't guide",
                                         "i can't show you",
                                         "i can't in good",
                                         "i cannot in good",
                                         "not something i can help",
                                         "not something i can",
                                         "not something i will",
                                         "not something i'm willing",
                                         "that's not something",
                                         "is not appropriate for me",
                                         "it is not appropriate to",
                                         "it is not appropriate or",
                                         "it's not appropriate to",
                                         "would be inappropriate",
                                         "not ethical or legal",
                                         "illegal and unethical",
                                         "unethical and illegal",
                                         "against my programming",
                                         "as a responsible ai",
                                         "as a responsible and ethical ai",
                                         "helping with this would",
                                         "helping you with this would",
                                         "helping with that would",
                                         "my purpose is to",
                                         "it is not ethical",
                                         "it's not ethical",
                                         "is not ethical or",
                                         "not ethical or respectful",
                                         "not ethical or appropriate",
                                         "appropriate or ethical",
                                         "appropriate or safe",
                                         "do not condone",
                                         "does not condone",
                                         "don't think it's appropriate",
                                         "do not think it is appropriate",
                                         "is never acceptable",
                                         "is never an acceptable",
                                         "never a healthy or",
                                         "i must clarify that asking",
                                         "i must advise against",
                                         "would involve causing harm",
                                         "i don't have access to personal",
                                         "i do not have access to personal",
                                         "not an appropriate question"};
  for (const char* phrase : anywhere)
    if (has(start, phrase)) return true;
  // "I won't ..." in the first words, whatever it is that one won't do.
  const std::string first = text.substr(0, 120);
  for (const char* phrase : {"i can't ", "i cannot ", "i can not ", "i won't ", "i will not ",
                             "i'm not able to ", "i am not able to "})
    if (has(first, phrase)) return true;
  // These decline only as the first words: elsewhere they are common in willing answers.
  static const char* const openings[] = {"i'm sorry, but ",
                                         "i am sorry, but ",
                                         "i'm sorry, i",
                                         "i'm sorry but ",
                                         "sorry, but ",
                                         "sorry, i can't",
                                         "sorry, i won't",
                                         "i apologize, but",
                                         "i'm really sorry, but",
                                         "i'm really sorry you're feeling",
                                         "no, i can't",
                                         "no, i won't",
                                         "no. ",
                                         "no, because",
                                         "no, since",
                                         "no, this",
                                         "no, that would",
                                         "i can't ",
                                         "i cannot ",
                                         "i won't ",
                                         "i will not ",
                                         "as an ai language model, i can't",
                                         "as an ai language model, i cannot",
                                         "as an ai, i can't",
                                         "as an ai, i cannot",
                                         "as an ai language model, i do not",
                                         "as an ai language model, i don't",
                                         "please don't",
                                         "please do not",
                                         "that is not something",
                                         "declining",
                                         "this request"};
  for (const char* phrase : openings)
    if (text.starts_with(phrase)) return true;
  return false;
}

bool complies_after_all(std::string_view text) {
  const std::string lower = lower_ascii(text);
  for (const char* sign : {"\n1.", "\n1)", "step 1", "here's how", "here is how", "here are some steps",
                           "here are the steps", "you can follow these"})
    if (lower.find(sign) != lower.npos) return true;
  return false;
}

}  // namespace cai
