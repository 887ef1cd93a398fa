#include "cai/config/config.hpp"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <optional>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/config/field.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::string full_name(const Field& f) {
  return f.section.empty() ? f.name : f.section + "." + f.name;
}

const Field* find_field(const std::string& name) {
  for (const Field& f : config_fields())
    if (full_name(f) == name) return &f;
  return nullptr;
}

// A scalar's text as the field's type; nothing when it is not one. Numbers are plain decimal: no octal, hex,
// nan or inf.
std::optional<FieldValue> read_value(const Field& field, const std::string& text) {
  const auto digits_only = [&] {
    return !(text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9');
  };
  if (std::holds_alternative<bool>(field.initial)) {
    if (text == "true") return FieldValue(true);
    if (text == "false") return FieldValue(false);
    return std::nullopt;
  }
  if (std::holds_alternative<long>(field.initial)) {
    long v = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    if (error != std::errc() || end != text.data() + text.size() || !digits_only()) return std::nullopt;
    return FieldValue(v);
  }
  if (std::holds_alternative<double>(field.initial)) {
    double v = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(v) || !digits_only())
      return std::nullopt;
    return FieldValue(v);
  }
  return FieldValue(text);
}

constexpr std::string_view kSeal = "# sha256 ";

// Whether a text that ends with a line of kSeal is as it was written; true for a text without one.
bool is_whole(std::string_view text) {
  const std::size_t line = text.rfind('\n', text.size() < 2 ? 0 : text.size() - 2);
  if (line == text.npos || !text.substr(line + 1).starts_with(kSeal)) return true;
  return trim(text.substr(line + 1 + kSeal.size())) == sha256(text.substr(0, line + 1));
}

// The library quotes the file as it is, and calls what is nested too deeply a bad file.
std::string yaml_problem(const YAML::Exception& e) {
  return e.msg == YAML::ErrorMsg::BAD_FILE ? "nested too deeply" : one_line(e.msg.substr(0, 200));
}

// A password in an address is not told again, not even in the message that refuses it.
std::string without_password(std::string text) {
  const std::size_t at = text.find('@'), scheme = text.find("://");
  return at == text.npos || scheme == text.npos || scheme > at
             ? text
             : text.replace(scheme + 3, at - scheme - 3, "[...]");
}

// A YAML value as JSON text. What is in quotes is text; of the rest, JSON's own words and numbers stay as
// they are.
std::string to_json_text(const YAML::Node& node) {
  if (node.IsNull() || !node.IsDefined()) return "null";
  std::string out;
  if (node.IsMap()) {
    for (const auto& entry : node)
      out += (out.empty() ? "" : ", ") + to_json_text(YAML::Node(entry.first.Scalar())) + ": " +
             to_json_text(entry.second);
    return "{" + out + "}";
  }
  if (node.IsSequence()) {
    for (const auto& entry : node)
      out += (out.empty() ? "" : ", ") + to_json_text(entry);
    return "[" + out + "]";
  }
  const std::string& text = node.Scalar();
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = error == std::errc() && end == text.data() + text.size() && std::isfinite(number) &&
                         text.back() != '.' && text.front() != '.';
  if (node.Tag() == "?" && (text == "true" || text == "false" || is_number)) return text;
  for (const char c : text) {
    char escaped[8];
    std::snprintf(escaped, sizeof escaped,
                  static_cast<unsigned char>(c) < 0x20 ? "\\u%04x"
                  : c == '"' || c == '\\'              ? "\\%c"
                                                       : "%c",
                  c);
    out += escaped;
  }
  return '"' + out + '"';
}

struct Loader {
  Config config;
  std::vector<std::string> problems;
  std::set<std::string> open_files;  // on the chain of `extends`
  fs::path folder;                   // of the file that is read

  void problem(const std::string& where, const std::string& what) { problems.push_back(where + ": " + what); }

  void assign(const Field& field, const FieldValue& value, const std::string& shown,
              const std::string& where) {
    if (const std::string wrong = field.check(value); !wrong.empty())
      return problem(where, full_name(field) + ": " + in_quotes(without_password(shown)) + " is " + wrong +
                                "; accepted: " + field.accepts);
    field.set(config, value);
    config.origin[full_name(field)] = where;
  }

  // "sft.epochs, reward.epochs" of "epochs", "" where no section has such a field.
  static std::string in_sections(const std::string& name) {
    std::string list;
    for (const Field& f : config_fields())
      if (f.name == name && !f.section.empty()) list += (list.empty() ? "" : ", ") + f.section + "." + f.name;
    return list;
  }

  void unknown(const std::string& name, const std::string& section, const std::string& where,
               bool is_map = false) {
    if (problems.size() > 100)
      return problem(where, "");  // told by their number only; looking for near names takes time
    std::vector<std::string> names;
    std::set<std::string> sections;
    for (const Field& f : config_fields()) {
      if (f.section == section) names.push_back(f.name);
      if (full_name(f).starts_with(section + ".") && f.section != section)  // of a group of fields
        names.push_back(full_name(f).substr(section.size() + 1));
      if (!f.section.empty()) sections.insert(f.section);
    }
    if (section.empty())
      names.insert(names.end(), sections.begin(), sections.end()), names.push_back("extends");
    const std::string near = nearest(name, names), full = (section.empty() ? "" : section + ".") + name;
    const std::string homes = section.empty() ? in_sections(name) : "";
    problem(
        where,
        std::string(is_map && section.empty() ? "unknown section " : "unknown field ") + in_quotes(full) +
            (!homes.empty() ? "; did you mean " + homes + "?"
             : near.empty() ? ""
                            : "; did you mean \"" + (section.empty() ? "" : section + ".") + near + "\"?"));
  }

  // A field that holds a map: its fields as a JSON object.
  void map(const Field& f, const YAML::Node& node, const std::string& where) {
    if (!node.IsMap() && !node.IsNull())
      return problem(where, full_name(f) + ": found no map; accepted: " + f.accepts);
    const std::string text = node.IsNull() || node.size() == 0 ? "" : to_json_text(node);
    assign(f, FieldValue(text), text, where);
  }

  void set_map(const Field& f, const std::string& value, const std::string& where) {
    try {
      map(f, value.empty() ? YAML::Node() : YAML::Load(value), where);
    } catch (const YAML::Exception& e) {
      problem(where, full_name(f) + ": not valid YAML or JSON: " + yaml_problem(e));
    }
  }

  void set(const std::string& text) {
    const auto equals = text.find('=');
    const std::string where = "--set " + one_line(without_password(text).substr(0, 100));
    if (equals == text.npos) return problem(where, "expected key=value");
    const std::string name = trim(text.substr(0, equals)), value = trim(text.substr(equals + 1));
    const Field* field = find_field(name);
    if (!field) {
      const auto dot = name.find('.');
      const std::string section = dot == name.npos ? "" : name.substr(0, dot);
      return unknown(dot == name.npos ? name : name.substr(dot + 1), section, where);
    }
    if (std::holds_alternative<std::vector<std::string>>(field->initial)) {
      std::vector<std::string> list;
      for (const std::string& part : split(value, ','))
        if (!trim(part).empty()) list.push_back(trim(part));
      return assign(*field, FieldValue(list), value, where);
    }
    if (field->is_map) return set_map(*field, value, where);
    const auto read = read_value(*field, value);
    if (!read) return problem(where, name + ": found " + in_quotes(value) + "; accepted: " + field->accepts);
    assign(*field, *read, value, where);
  }

  // A file that lies beside the config file goes before one of the working folder: so a run's config.yaml
  // names the run's own copies wherever it is read from.
  std::string beside(const Field& f, const std::string& name) const {
    std::error_code ignored;
    const bool is_relative = f.is_path && !name.empty() && fs::path(name).is_relative();
    return is_relative && fs::exists(folder / name, ignored) ? (folder / name).string() : name;
  }

  void field(const Field& f, const YAML::Node& node, const std::string& where) {
    if (std::holds_alternative<std::vector<std::string>>(f.initial)) {
      std::vector<std::string> list;
      if (!node.IsSequence()) return problem(where, full_name(f) + ": found no list; accepted: " + f.accepts);
      for (const auto& entry : node) {
        if (!entry.IsScalar())
          return problem(where, full_name(f) + ": found a list in the list; accepted: " + f.accepts);
        list.push_back(beside(f, entry.Scalar()));
      }
      return assign(f, FieldValue(list), "the list", where);
    }
    if (f.is_map) return map(f, node, where);
    if (!node.IsScalar() && !node.IsNull())
      return problem(where, full_name(f) + ": found a list or section; accepted: " + f.accepts);
    const std::string text = node.IsNull() ? "" : node.Scalar();
    const auto read = read_value(f, text);
    if (!read)
      return problem(where, full_name(f) + ": found " + in_quotes(text) + "; accepted: " + f.accepts);
    assign(f, f.is_path ? FieldValue(beside(f, text)) : *read, text, where);
  }

  // "sft.lora" of "sft.lora.rank": such fields may stand in a map of their own.
  static bool is_group(const std::string& name) {
    const std::vector<Field>& all = config_fields();
    return std::any_of(all.begin(), all.end(),
                       [&](const Field& f) { return full_name(f).starts_with(name + "."); });
  }

  void section(const std::string& name, const YAML::Node& node, const std::string& file) {
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string where = file + ":" + std::to_string(entry.first.Mark().line + 1);
      if (!entry.first.IsScalar()) {
        problem(where, "a field's name must be a word");
        continue;
      }
      const std::string key = entry.first.Scalar();
      if (!seen.insert(key).second) {
        problem(where, "duplicate field " + in_quotes(key));
        continue;
      }
      if (key == "<<") {
        problem(where,
                "\"<<\" (a YAML merge key) is not read; write the fields out, or name a file of them with "
                "\"extends\"");
        continue;
      }
      if (name.empty() && key == "extends") continue;
      bool is_section = false;
      for (const Field& f : config_fields())
        is_section |= name.empty() && f.section == key;
      if (is_section) {
        if (entry.second.IsNull()) continue;
        if (!entry.second.IsMap())
          problem(where, "section \"" + key + "\" must hold fields");
        else
          section(key, entry.second, file);
        continue;
      }
      const std::string full = name.empty() ? key : name + "." + key;
      const Field* f = find_field(full);
      if (f)
        field(*f, entry.second, where);
      else if (is_group(full) && entry.second.IsMap())
        section(full, entry.second, file);
      else
        unknown(key, name, where, entry.second.IsMap());
    }
  }

  /// `named`: where a file that cannot be read is told, its path or the `extends` that names it.
  void file(const fs::path& path, const std::string& named) {
    std::error_code ignored;
    const std::string identity = fs::weakly_canonical(path, ignored).string();
    if (!open_files.insert(identity).second) return problem(named, "circular reference");
    std::ifstream in(path, std::ios::binary);
    if (!in || fs::is_directory(path)) return problem(named, "no such file");
    constexpr std::size_t kLargest = 1'000'000;
    std::string text(kLargest + 1, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(in.gcount()));
    if (text.size() > kLargest) return problem(named, "larger than 1 MB");
    if (!is_utf8(text)) return problem(named, "not valid UTF-8");
    if (!is_whole(text))
      return problem(named,
                     "is not as cai wrote it (damaged, or changed by hand); if the change is yours, remove "
                     "the last line, \"# sha256 ...\"");
    try {
      const YAML::Node root = YAML::Load(text);
      if (root.IsNull()) return;
      if (!root.IsMap()) return problem(path.string() + ":1", "expected fields (name: value)");
      if (const YAML::Node parent = root["extends"]) {
        const std::string where = path.string() + ":" + std::to_string(parent.Mark().line + 1);
        if (!parent.IsScalar())
          problem(where, "extends: expected a file name");
        else
          file(path.parent_path() / parent.Scalar(), where + ": extends " + in_quotes(parent.Scalar()));
      }
      folder = path.parent_path();
      section("", root, path.string());
    } catch (const YAML::Exception& e) {
      problem(path.string() + ":" + std::to_string(std::max(e.mark.line + 1, 1)),
              "not valid YAML: " + yaml_problem(e));
    }
    open_files.erase(identity);
  }
};

std::string yaml_scalar(const FieldValue& value) {
  if (const bool* v = std::get_if<bool>(&value)) return *v ? "true" : "false";
  if (const long* v = std::get_if<long>(&value)) return std::to_string(*v);
  if (const double* v = std::get_if<double>(&value)) {
    char buffer[64];
    const auto end =
        std::to_chars(buffer, buffer + sizeof buffer, *v).ptr;  // the shortest text that reads back the same
    return {buffer, end};
  }
  YAML::Emitter out;
  out << YAML::DoubleQuoted;
  if (const std::string* v = std::get_if<std::string>(&value)) {
    out << *v;
  } else {
    out << YAML::Flow << YAML::BeginSeq;
    for (const std::string& s : std::get<std::vector<std::string>>(value))
      out << s;
    out << YAML::EndSeq;
  }
  return out.c_str();
}

std::string yaml_value(const Field& field, const Config& config) {
  const FieldValue value = field.get(config);
  if (!field.is_map) return yaml_scalar(value);
  const std::string& object = std::get<std::string>(value);  // JSON is YAML
  return object.empty() ? "{}" : object;
}

// A field's value as keys have it.
std::string key_value(const Field& field, const Config& config) {
  const std::string value = yaml_value(field, config);
  const bool is_local =
      field.is_model && value != "\"\"" && value != "\"self\"" && value.find("://") == value.npos;
  return is_local ? "a model" : value;
}

}  // namespace

Config load_config(const fs::path& file, const std::vector<std::string>& sets) {
  Loader loader;
  if (!file.empty()) loader.file(file, file.string());
  for (const std::string& text : sets)
    loader.set(text);
  Config& c = loader.config;
  if (c.ppo.advantage != "gae" && c.ppo.samples_per_prompt < 2)
    loader.problem(c.origin.count("ppo.advantage") ? c.origin["ppo.advantage"] : "ppo.advantage",
                   "ppo.advantage: " + c.ppo.advantage + " needs ppo.samples_per_prompt of 2 or more");
  if (c.ppo.advantage != "gae" && c.ppo.whiten_rewards)
    loader.problem(
        c.origin.count("ppo.whiten_rewards") ? c.origin["ppo.whiten_rewards"] : "ppo.whiten_rewards",
        "ppo.whiten_rewards: only with ppo.advantage gae, not " + c.ppo.advantage +
            ": an answer's advantage would grow with its length");
  throw_problems(loader.problems);
  return c;
}

std::string to_yaml(const Config& config, bool with_origin) {
  std::string out, section;
  for (const Field& f : config_fields()) {
    if (f.section != section) out += f.section + ":\n", section = f.section;
    std::string line = (section.empty() ? "" : "  ") + f.name + ": " + yaml_value(f, config);
    if (with_origin) {
      const auto it = config.origin.find(full_name(f));
      line += "  # " + (it == config.origin.end() ? std::string("default") : printable(it->second));
    }
    out += line + "\n";
  }
  return out;
}

std::string to_sealed_yaml(const Config& config) {
  const std::string text = to_yaml(config, true);
  return text + std::string(kSeal) + sha256(text) + "\n";
}

const std::string& judge_of(const Config& config) {
  return config.label.feedback.empty() ? config.feedback : config.label.feedback;
}

std::string section_text(const Config& config, const std::string& section) {
  std::string out;
  for (const Field& f : config_fields())
    if (f.section == section && f.affects_result && (!f.matters || f.matters(config)))
      out += full_name(f) + " = " + key_value(f, config) + "\n";
  return out;
}

}  // namespace cai
