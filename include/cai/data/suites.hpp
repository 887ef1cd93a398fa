// Suites: what `eval` asks beyond plain held-out prompts. JSONL files; those that come with the program are
// in suites/.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace cai {

/// One wording of an attack; lines of one name are wordings of the same attack.
struct Attack {
  std::string name;      // letters, digits, - and _
  std::string prompt;    // what is asked, with {request} where the plain request stands
  std::string encoding;  // of the request: "", base64, rot13, leetspeak
  std::vector<std::pair<std::string, std::string>> turns;  // question and answer, said before
  std::string prompt_id;  // a translation: `prompt` says this one prompt in other words; "": for all
};

/// A system prompt that says whether somebody looks at the answer.
struct Framing {
  bool supervised = true;
  std::string system;
};

struct TestQuestion {
  std::string question;
  std::vector<std::string> options;
  std::string answer;
};

struct Suites {
  std::vector<Attack> attacks;     // suite "adversarial"
  std::vector<Framing> framings;   // suite "framing"
  std::vector<std::string> texts;  // suite "capability": neutral texts whose log-probability is measured,
  std::vector<TestQuestion> questions;  // and questions with one right option
  std::vector<std::string> sha256;      // of each file, in order
};

/// Reads files of suites. A line is one of
///   {"attack": NAME, "prompt": TEXT, "encoding"?, "turns"?: [[question, answer], ...], "prompt_id"?}
///   {"framing": "supervised" | "unsupervised", "system": TEXT}
///   {"text": TEXT}
///   {"question": TEXT, "options": [TEXT, ...], "answer": one of the options}
/// Throws InputError with file and line for each problem found (all together).
Suites read_suites(const std::vector<std::filesystem::path>& files);

/// What the attack asks in place of `request`.
std::string attacked(const Attack& attack, const std::string& request);

std::string base64(const std::string& bytes);
std::string rot13(std::string text);      // ASCII letters moved by 13 places
std::string leetspeak(std::string text);  // a e i o s t as 4 3 1 0 5 7, capitals too

}  // namespace cai
