#include <cstdio>
#include <iostream>
#include <map>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/commands.hpp"
#include "cai/config/field.hpp"
#include "cai/data/constitution.hpp"
#include "cai/pipeline/home.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

std::string text_of(const FieldValue& value) {
  if (auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (auto* integer = std::get_if<long>(&value)) return std::to_string(*integer);
  if (auto* number = std::get_if<double>(&value)) return Json(*number).dump();
  if (auto* text = std::get_if<std::string>(&value)) return text->empty() ? "\"\"" : *text;
  std::string list;
  for (const std::string& item : std::get<std::vector<std::string>>(value)) list += (list.empty() ? "" : ", ") + item;
  return "[" + list + "]";
}

std::string type_of(const FieldValue& value) {
  constexpr const char* kNames[] = {"true or false", "integer", "number", "text", "list"};
  return kNames[value.index()];
}

int explain(const Arguments& a) {
  Json shown = Json::array();
  std::vector<std::string> known;
  std::set<std::string> sections;
  for (const Field& field : config_fields()) {
    std::string name = field.section.empty() ? field.name : field.section + "." + field.name;
    known.push_back(name);
    if (sections.insert(field.section).second && !field.section.empty()) known.push_back(field.section);
    if (!a.topic.empty() && a.topic != name && a.topic != field.section) continue;
    shown.push_back({{"name", name},
                     {"type", type_of(field.initial)},
                     {"default", text_of(field.initial)},
                     {"accepts", field.accepts},
                     {"help", field.help}});
  }
  if (shown.empty()) {
    std::string near = nearest(a.topic, known);
    throw UsageError("cai config explain: no field or section " + in_quotes(a.topic) +
                     (near.empty() ? "" : "; did you mean " + near + "?"));
  }
  if (a.json) {
    std::cout << to_lines(shown);
    return kDone;
  }
  for (const Json& field : shown) {
    std::cout << field["name"].get<std::string>() << " = " << field["default"].get<std::string>() << "\n    "
              << field["help"].get<std::string>() << "\n    accepts: " << field["accepts"].get<std::string>() << "\n";
  }
  return kDone;
}

int show_config(const Arguments& a) {
  Config config = config_of(a);
  if (!a.json) {
    std::cout << to_yaml(config, true);
    return kDone;
  }
  Json values = Json::object();
  for (const Field& field : config_fields()) {
    Json value = std::visit([](const auto& held) { return Json(held); }, field.get(config));
    (field.section.empty() ? values : values[field.section])[field.name] = value;
  }
  std::cout << to_lines(values);
  return kDone;
}

int show_constitution(const Arguments& a) {
  Constitution constitution = read_constitution(find_shipped(a.run));
  if (a.json) {
    std::cout << to_lines(to_json(constitution));
    return kDone;
  }
  std::cout << printable(constitution.name) << " " << printable(constitution.version) << ", " << constitution.principles.size()
            << " principles, sha256 " << constitution.sha256.substr(0, 12) << "\n";
  for (const Principle& p : constitution.principles) {
    std::string tags;
    for (const std::string& tag : p.applies_to) tags += (tags.empty() ? "" : ", ") + tag;
    std::cout << "\n"
              << printable(p.id) << " (priority " << p.priority << ", weight " << p.weight << (p.hard ? ", hard" : "")
              << (tags.empty() ? "" : ", for " + printable(tags)) << ")\n  text      " << printable(p.text) << "\n  critique  "
              << printable(p.critique) << "\n  revision  " << printable(p.revision) << "\n  compare   " << printable(p.compare)
              << "\n  opposite  " << printable(p.opposite) << "\n  tests     " << p.tests.size() << "\n";
  }
  return kDone;
}

/// Words of a text, in lower case and in order, punctuation aside.
std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (char letter : lower_ascii(text) + " ") {
    bool belongs = std::isalnum(static_cast<unsigned char>(letter)) || (letter & 0x80) || letter == '\'';
    if (belongs) word += letter;
    else if (!word.empty()) words.push_back(std::move(word)), word.clear();
  }
  return words;
}

double overlap(const std::string& a, const std::string& b) {
  std::vector<std::string> left = words_of(a), right = words_of(b);
  std::set<std::string> x(left.begin(), left.end()), y(right.begin(), right.end());
  std::size_t common = 0;
  for (const std::string& word : x) common += y.count(word);
  std::size_t all = x.size() + y.size() - common;
  return all == 0 ? 0 : static_cast<double>(common) / static_cast<double>(all);
}

/// A file that cannot be loaded is an error (exit 2); what can be better is told, one line each, and exits 0.
int lint(const Arguments& a) {
  fs::path file = find_shipped(a.run);
  Constitution constitution = read_constitution(file);
  Json remarks = Json::array();
  auto remark = [&](const Principle& p, const std::string& text) {
    remarks.push_back({{"file", file.string()}, {"line", p.line}, {"principle", p.id}, {"remark", text}});
  };
  for (std::size_t i = 0; i < constitution.principles.size(); ++i) {
    const Principle& p = constitution.principles[i];
    std::size_t words = words_of(p.text).size();
    if (p.tests.empty()) remark(p, "has no tests: eval cannot tell whether it holds");
    if (words > 80) remark(p, "is " + std::to_string(words) + " words long; small models lose the thread past 80");
    if (words < 4) remark(p, "is " + std::to_string(words) + " words long; say what to do and what not");
    for (std::size_t j = 0; j < i; ++j) {
      const Principle& q = constitution.principles[j];
      if (overlap(p.text, q.text) > 0.7) remark(p, "says nearly the same as \"" + q.id + "\" (line " + std::to_string(q.line) + ")");
    }
  }
  if (a.json) {
    std::cout << to_lines(remarks);
    return kDone;
  }
  for (const Json& r : remarks) {
    std::cout << r["file"].get<std::string>() << ":" << r["line"].get<int>() << ": " << printable(r["principle"].get<std::string>()) << " "
              << printable(r["remark"].get<std::string>()) << "\n";
  }
  std::cout << constitution.principles.size() << " principles, " << remarks.size() << " remarks\n";
  return kDone;
}

std::string figure_text(const Json& value) {
  if (value.is_string()) return printable(value.get<std::string>());
  if (!value.is_number_float()) return to_line(value);
  char rounded[32];
  std::snprintf(rounded, sizeof rounded, "%.4g", value.get<double>());
  return rounded;
}

void flatten(const Json& value, const std::string& name) {
  bool is_interval = value.is_object() && value.contains("value") && value.contains("low") && value.contains("high");
  if (value.is_object() && !value.empty() && !is_interval) {
    for (const auto& [key, inner] : value.items()) flatten(inner, name.empty() ? key : name + "." + key);
    return;
  }
  std::string text = is_interval ? figure_text(value["value"]) + " [" + figure_text(value["low"]) + ", " + figure_text(value["high"]) + "]"
                                 : figure_text(value);
  if (is_interval && value.contains("n")) text += " (n " + figure_text(value["n"]) + ")";
  std::cout << printable(name) << std::string(name.size() < 40 ? 40 - name.size() : 1, ' ') << text << "\n";
}

}  // namespace

Config config_of(const Arguments& a) {
  fs::path file = a.config.empty() ? fs::path() : find_shipped(a.config);
  bool is_run = a.command == "train" || a.command == "plan" || a.command == "report";
  fs::path run = a.command == "report" ? a.run : a.out;
  if (a.config.empty() && is_run && !run.empty() && fs::exists(run / "config.yaml")) file = run / "config.yaml";
  if (file.empty() && fs::exists(find_shipped("configs/default.yaml"))) file = find_shipped("configs/default.yaml");

  std::vector<std::string> sets = a.sets;
  std::vector<std::pair<std::string, std::string>> flags;  // how a field was typed, for error messages
  auto flag = [&](const std::string& field, const std::string& name, const std::string& value) {
    if (value.empty()) return;
    sets.push_back(field + "=" + value);
    flags.emplace_back("--set " + field + "=", "--" + name + "=");
  };
  flag("seed", "seed", a.seed), flag("iterations", "iterations", a.iterations);
  std::string sampler = a.command == "chat" ? "generate" : a.command;
  flag(sampler + ".temperature", "temperature", a.temperature), flag(sampler + ".max_new_tokens", "max-new-tokens", a.max_new_tokens);
  Config config;
  try {
    config = load_config(file, sets);
  } catch (const InputError& error) {
    std::string message = error.what();
    for (const auto& [set, typed] : flags) {
      for (std::size_t at; (at = message.find(set)) != std::string::npos;) message.replace(at, set.size(), typed);
    }
    throw InputError(message);
  }
  auto given = [&](std::string& field, const std::string& value, const std::string& name) {
    if (!value.empty()) field = value, config.origin[name] = "--" + name;
  };
  given(config.constitution, a.constitution, "constitution");
  given(config.model, a.model(), "model");
  given(config.out, a.out, "out");
  if (!a.prompts.empty()) config.prompts.files = a.prompts, config.origin["prompts.files"] = "--prompts";
  return config;
}

void print_figures(const Json& figures, bool as_json) {
  if (as_json) std::cout << to_lines(figures);
  else flatten(figures, "");
  std::cout.flush();
}

int run_light(const Arguments& a) {
  if (a.command == "print") std::cout << a.text;
  else if (a.command == "completion") std::cout << completion(a.shell);
  else if (a.command == "config show") return show_config(a);
  else if (a.command == "config explain") return explain(a);
  else if (a.command == "constitution show") return show_constitution(a);
  else if (a.command == "constitution lint") return lint(a);
  else throw Bug("not a light command: " + a.command);
  return kDone;
}

/// A line that fits a terminal: a message may name a path of any length.
static std::string shortened(const std::string& line) { return line.size() <= 1000 ? line : line.substr(0, 500) + "..." + line.substr(line.size() - 300); }

int guarded(const std::function<int()>& body) {
  try {
    int code = body();
    std::cout.flush();
    if (!std::cout) throw EnvironmentError("stdout: could not write all results");
    return code;
  } catch (const Error& error) {
    for (const std::string& line : split(error.what(), '\n')) std::fprintf(stderr, "%s\n", printable(shortened(line)).c_str());
    return error.exit_code();
  } catch (const fs::filesystem_error& error) {
    // A path that no file system takes is bad input; anything else is the machine's doing.
    const std::error_code code = error.code();
    std::fprintf(stderr, "%s: %s\n", printable(shortened(error.path1().string())).c_str(), printable(code.message()).c_str());
    const bool is_bad_path = code == std::errc::filename_too_long || code == std::errc::not_a_directory || code == std::errc::too_many_symbolic_link_levels;
    return is_bad_path ? kBadInput : kFailed;
  } catch (const Json::exception& error) {
    std::fprintf(stderr, "an input record or file is not of the expected form (%s)\n", printable(error.what()).c_str());
    return kBadInput;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "out of memory\n");
  } catch (const std::exception& error) {
    const std::string all = error.what();  // torch appends a stack of calls over many lines
    std::fprintf(stderr, "internal error: %s\n", printable(all.substr(0, all.find('\n'))).c_str());
  }
  return kFailed;
}

}  // namespace cai
