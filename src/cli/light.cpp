#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/log_sinks.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/commands.hpp"
#include "cai/config/field.hpp"
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
  for (const std::string& item : std::get<std::vector<std::string>>(value))
    list += (list.empty() ? "" : ", ") + item;
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
              << field["help"].get<std::string>() << "\n    accepts: " << field["accepts"].get<std::string>()
              << "\n";
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

std::string figure_text(const Json& value) {
  if (value.is_string()) return printable(value.get<std::string>());
  if (!value.is_number_float()) return to_line(value);
  char rounded[32];
  std::snprintf(rounded, sizeof rounded, "%.4g", value.get<double>());
  return rounded;
}

void flatten(const Json& value, const std::string& name) {
  bool is_interval =
      value.is_object() && value.contains("value") && value.contains("low") && value.contains("high");
  if (value.is_object() && !value.empty() && !is_interval) {
    for (const auto& [key, inner] : value.items())
      flatten(inner, name.empty() ? key : name + "." + key);
    return;
  }
  std::string text = !is_interval ? figure_text(value)
                     : value["low"].is_null()
                         ? figure_text(value["value"]) + " (all the same)"
                         : figure_text(value["value"]) + " [" + figure_text(value["low"]) + ", " +
                               figure_text(value["high"]) + "]";
  if (is_interval && value.contains("n")) text += " (n " + figure_text(value["n"]) + ")";
  std::cout << printable(name) << std::string(name.size() < 40 ? 40 - name.size() : 1, ' ') << text << "\n";
}

}  // namespace

Config config_of(const Arguments& a) {
  fs::path file = a.config.empty() ? fs::path() : find_shipped(a.config);
  bool is_run = a.command == "train" || a.command == "plan" || a.command == "report";
  fs::path run = a.command == "report" ? a.run : a.out;
  if (a.config.empty() && is_run && !run.empty() && fs::exists(run / "config.yaml"))
    file = run / "config.yaml";
  if (file.empty() && fs::exists(find_shipped("configs/default.yaml")))
    file = find_shipped("configs/default.yaml");

  std::vector<std::string> sets = a.sets;
  std::vector<std::pair<std::string, std::string>> flags;  // how a field was typed, for error messages
  auto flag = [&](const std::string& field, const std::string& name, const std::string& value) {
    if (value.empty()) return;
    sets.push_back(field + "=" + value);
    flags.emplace_back("--set " + field + "=", "--" + name + "=");
  };
  flag("seed", "seed", a.seed), flag("iterations", "iterations", a.iterations);
  std::string sampler = a.command == "chat" || a.command == "explain" ? "generate" : a.command;
  flag(sampler + ".temperature", "temperature", a.temperature),
      flag(sampler + ".max_new_tokens", "max-new-tokens", a.max_new_tokens);
  Config config;
  try {
    config = load_config(file, sets);
  } catch (const InputError& error) {
    std::string message = error.what();
    for (const auto& [set, typed] : flags) {
      for (std::size_t at; (at = message.find(set)) != std::string::npos;)
        message.replace(at, set.size(), typed);
    }
    throw InputError(message);
  }
  auto given = [&](std::string& field, const std::string& value, const std::string& name) {
    if (!value.empty()) field = value, config.origin[name] = "--" + name;
  };
  given(config.constitution, a.constitution, "constitution");
  given(config.model, a.model(), "model");
  given(config.feedback, a.feedback, "feedback");
  if (config.label.feedback.empty()) given(config.label.feedback, a.feedback, "label.feedback");
  given(config.out, a.out, "out");
  if (!a.prompts.empty()) config.prompts.files = a.prompts, config.origin["prompts.files"] = "--prompts";
  return config;
}

void print_figures(const Json& figures, bool as_json) {
  if (as_json)
    std::cout << to_lines(figures);
  else
    flatten(figures, "");
  std::cout.flush();
}

int run_light(const Arguments& a) {
  if (a.command == "print")
    std::cout << a.text;
  else if (a.command == "init")
    return run_init(a);
  else if (a.command == "completion")
    std::cout << completion(a.shell);
  else if (a.command == "config show")
    return show_config(a);
  else if (a.command == "config explain")
    return explain(a);
  else if (a.command.starts_with("constitution "))
    return run_constitution(a);
  else if (a.command == "explain" || a.command == "review")
    return run_records(a);
  else if (is_release_command(a.command))
    return run_release(a);
  else
    throw Bug("not a light command: " + a.command);
  return kDone;
}

long positive_integer(const std::string& text, const std::string& flag) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos ||
      std::stol(text) < 1) {
    throw UsageError("invalid value " + in_quotes(text) + " for " + flag +
                     " (expected a whole number from 1)");
  }
  return std::stol(text);
}

constexpr const char* kNoMemory =
    "out of memory; everything so far is kept. Free some memory, then run the same command to continue";

/// A line that fits a terminal: a message may name a path of any length.
static std::string shortened(const std::string& line) {
  return line.size() <= 1000 ? line : line.substr(0, 500) + "..." + line.substr(line.size() - 300);
}

void log_json_if_asked(int argc, char** argv) {
  if (std::any_of(argv, argv + argc, [](const char* one) { return std::strcmp(one, "--json") == 0; }))
    log_as_json();
}

int guarded(const std::function<int()>& body) {
  // Memory that runs out in a thread of a parallel region, or where nothing may be thrown, gets here.
  std::set_terminate([] {
    const char* said = "internal error: ended without an exception";
    try {
      if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
      said = kNoMemory;
    } catch (...) {
      said = "internal error: an unexpected exception";
    }
    tell_error(said);
    std::_Exit(kFailed);
  });
  try {
    int code = body();
    std::cout.flush();
    if (!std::cout) throw EnvironmentError("stdout: could not write all results");
    return code;
  } catch (const Error& error) {
    for (const std::string& line : split(error.what(), '\n'))
      tell_error(shortened(line));
    return error.exit_code();
  } catch (const std::bad_alloc&) {
    tell_error(kNoMemory);
  } catch (const fs::filesystem_error& error) {
    // A path that no file system takes is bad input; anything else is the machine's doing.
    const std::error_code code = error.code();
    const std::string path = error.path2().empty() ? error.path1().string() : error.path2().string();
    tell_error("cannot use " + shortened(path) + ": " + code.message());
    const bool is_bad_path = code == std::errc::filename_too_long || code == std::errc::not_a_directory ||
                             code == std::errc::too_many_symbolic_link_levels;
    return is_bad_path ? kBadInput : kFailed;
  } catch (const Json::exception& error) {
    tell_error("an input record or file does not have the expected form (" + std::string(error.what()) + ")");
    return kBadInput;
  } catch (const std::exception& error) {
    const std::string what = error.what();  // torch appends a stack of calls over many lines, and says in
                                            // many words when it gets no memory
    if (what.find("allocate memory") != what.npos || what.find("not enough memory") != what.npos)
      tell_error(kNoMemory);
    else
      tell_error("internal error: " + what.substr(0, what.find('\n')));
  }
  return kFailed;
}

}  // namespace cai
