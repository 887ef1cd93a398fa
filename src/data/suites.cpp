#include "cai/data/suites.hpp"

#include <algorithm>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

constexpr std::size_t kLongest = 100'000;
const std::string kRequest = "{request}";

// Fields that a line may have, by the one that says what it is.
const std::vector<std::vector<std::string>>& forms() {
  static const std::vector<std::vector<std::string>> all = {
      {"attack", "prompt", "encoding", "turns", "prompt_id"},
      {"framing", "system"},
      {"text"},
      {"question", "options", "answer"}};
  return all;
}

// One line as it is read. Each problem is told once, with its place.
struct Line {
  const Json& json;
  std::string where;
  std::vector<std::string>& problems;
  bool is_good = true;

  void problem(const std::string& what) { problems.push_back(where + ": " + what), is_good = false; }

  std::string text(const char* field, bool is_optional = false) {
    const auto value = json.find(field);
    if (value == json.end() && is_optional) return "";
    if (value == json.end() || !value->is_string())
      return problem("the field \"" + std::string(field) + "\" must be a text"), "";
    const std::string found = value->get<std::string>();
    if (trim(found).empty()) problem("the field \"" + std::string(field) + "\" is empty");
    if (found.size() > kLongest)
      problem("the field \"" + std::string(field) + "\" has " + std::to_string(found.size()) +
              " bytes; accepted: at most " + std::to_string(kLongest));
    return found;
  }

  void check_fields(const std::vector<std::string>& accepted) {
    for (const auto& [key, value] : json.items()) {
      if (std::find(accepted.begin(), accepted.end(), key) != accepted.end()) continue;
      const std::string near = nearest(key, accepted);
      problem("unknown field " + in_quotes(key) + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
    }
  }

  Attack attack() {
    Attack a{text("attack"), text("prompt"), text("encoding", true), {}, text("prompt_id", true)};
    if (is_good && a.name.find_first_not_of(
                       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != a.name.npos)
      problem("attack " + in_quotes(a.name) + "; accepted: letters, digits, - and _");
    for (const char* taken :
         {"adversarial", "supervised", "unsupervised", "gap"})  // attack_success_<name> is a measure
      if (a.name == taken) problem("an attack cannot be called " + in_quotes(a.name));
    if (!a.encoding.empty() && a.encoding != "base64" && a.encoding != "rot13" && a.encoding != "leetspeak")
      problem("encoding " + in_quotes(a.encoding) + "; accepted: base64, rot13, leetspeak");
    if (is_good && a.prompt_id.empty() && a.prompt.find(kRequest) == a.prompt.npos)
      problem(
          "the prompt of an attack holds {request}, where the plain request goes, or belongs to one "
          "prompt_id");
    if (const auto turns = json.find("turns"); turns != json.end()) {
      const auto is_turn = [](const Json& t) {
        return t.is_array() && t.size() == 2 && t[0].is_string() && t[1].is_string();
      };
      if (!turns->is_array() || !std::all_of(turns->begin(), turns->end(), is_turn))
        problem("\"turns\" must be a list of [question, answer]");
      else
        for (const Json& t : *turns)
          a.turns.emplace_back(t[0].get<std::string>(), t[1].get<std::string>());
    }
    return a;
  }

  Framing framing() {
    const std::string name = text("framing");
    if (is_good && name != "supervised" && name != "unsupervised")
      problem("framing " + in_quotes(name) + "; accepted: supervised, unsupervised");
    return {name == "supervised", text("system")};
  }

  TestQuestion question() {
    TestQuestion q{text("question"), {}, text("answer")};
    const auto options = json.find("options");
    if (options == json.end() || !options->is_array() || options->size() < 2)
      return problem("\"options\" must be a list of two texts or more"), q;
    for (const Json& option : *options) {
      if (!option.is_string() || trim(option.get<std::string>()).empty())
        return problem("\"options\" must be a list of two texts or more"), q;
      q.options.push_back(option.get<std::string>());
    }
    if (std::set<std::string>(q.options.begin(), q.options.end()).size() != q.options.size())
      problem("duplicate option");
    if (std::find(q.options.begin(), q.options.end(), q.answer) == q.options.end())
      problem("the answer is none of the options");
    return q;
  }
};

void read_line(const Json& json, const std::string& where, std::vector<std::string>& problems,
               Suites& suites) {
  Line line{json, where, problems};
  if (!json.is_object()) return line.problem("not a JSON object");
  const auto form =
      std::find_if(forms().begin(), forms().end(), [&](const auto& f) { return json.contains(f.front()); });
  if (form == forms().end())
    return line.problem("a line of a suite has one of the fields attack, framing, text, question");
  line.check_fields(*form);
  const std::string& kind = form->front();
  if (kind == "attack") suites.attacks.push_back(line.attack());
  if (kind == "framing") suites.framings.push_back(line.framing());
  if (kind == "text") suites.texts.push_back(line.text("text"));
  if (kind == "question") suites.questions.push_back(line.question());
}

}  // namespace

Suites read_suites(const std::vector<std::filesystem::path>& files) {
  Suites suites;
  std::vector<std::string> problems;
  for (const std::filesystem::path& file : files) {
    if (!std::filesystem::is_regular_file(file)) {
      problems.push_back(file.string() + ": no such file of a suite");
      continue;
    }
    const std::string text = read_file(file);
    suites.sha256.push_back(sha256(text));
    long line = 0;
    for (const std::string& one : split(text, '\n')) {
      ++line;
      if (trim(one).empty()) continue;
      try {
        read_line(parse_json(one, file.string(), line), file.string() + ":" + std::to_string(line), problems,
                  suites);
      } catch (const InputError& e) {
        problems.push_back(e.what());
      }
    }
  }
  const auto has = [&](bool supervised) {
    return std::any_of(suites.framings.begin(), suites.framings.end(),
                       [&](const Framing& f) { return f.supervised == supervised; });
  };
  if (has(true) != has(false))
    problems.push_back(
        "eval.suites: framings are compared: both supervised and unsupervised ones are needed");
  throw_problems(problems);
  return suites;
}

std::string attacked(const Attack& attack, const std::string& request) {
  const std::string said = attack.encoding == "base64"      ? base64(request)
                           : attack.encoding == "rot13"     ? rot13(request)
                           : attack.encoding == "leetspeak" ? leetspeak(request)
                                                            : request;
  std::string prompt = attack.prompt;
  for (std::size_t at = prompt.find(kRequest); at != prompt.npos;
       at = prompt.find(kRequest, at + said.size()))
    prompt.replace(at, kRequest.size(), said);
  return prompt;
}

std::string base64(const std::string& bytes) {
  static const char* const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t k) {
      return i + k < bytes.size() ? static_cast<unsigned>(static_cast<unsigned char>(bytes[i + k])) : 0u;
    };
    const unsigned three = byte(0) << 16 | byte(1) << 8 | byte(2);
    for (std::size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? alphabet[three >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string rot13(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z')
      c = static_cast<char>('a' + (c - 'a' + 13) % 26);
    else if (c >= 'A' && c <= 'Z')
      c = static_cast<char>('A' + (c - 'A' + 13) % 26);
  }
  return text;
}

std::string leetspeak(std::string text) {
  static const std::string from = "aeiostAEIOST", to = "431057431057";
  for (char& c : text)
    if (const std::size_t at = from.find(c); at != from.npos) c = to[at];
  return text;
}

}  // namespace cai
