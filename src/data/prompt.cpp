#include "cai/data/prompt.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/records.hpp"

namespace cai {
namespace {

constexpr std::size_t kLongest = 100'000;

bool is_written_by_stages(const std::string& field) {
  static const std::set<std::string> names = {"a", "answer", "asked", "attack", "b", "candidates", "chosen", "complies", "critique", "critique_problem", "decline", "decline_by", "finish", "framing",
                                              "harm", "history", "human", "log_odds", "method", "model", "must", "opening", "orders_agree", "p", "passed", "principle", "problem",
                                              "reason", "reference_log_probability", "refusal", "rejected", "request", "response", "revision", "revision_problem", "round", "suite", "system", "tie", "tokens", "words"};
  return names.contains(field);
}

struct Reader {
  std::string file;
  std::vector<Prompt> prompts;
  std::vector<std::string> problems;
  std::map<std::string, long> ids;

  void problem(long line, const std::string& what) { problems.push_back(file + ":" + std::to_string(line) + ": " + what); }

  void add(Prompt p, long line) {
    if (!is_utf8(p.text)) return problem(line, "not valid UTF-8");
    if (trim(p.text).empty()) return problem(line, "the prompt is empty");
    if (p.text.size() > kLongest) return problem(line, "the prompt has " + std::to_string(p.text.size()) + " bytes; accepted: at most " + std::to_string(kLongest));
    if (p.id.empty()) p.id = sha256(p.text).substr(0, 12);
    const auto [it, fresh] = ids.emplace(p.id, line);
    if (!fresh) return problem(line, "the id " + in_quotes(p.id) + " stands on line " + std::to_string(it->second) + " too");
    prompts.push_back(std::move(p));
  }

  void json(const Json& j, long line) {
    if (!j.is_object()) return problem(line, "not a JSON object");
    Prompt p;
    const auto text = [&](const char* name, std::string& to) {
      const auto it = j.find(name);
      if (it == j.end() || it->is_null()) return true;
      if (!it->is_string()) {
        problem(line, std::string("field \"") + name + "\" must be a text");
        return false;
      }
      to = it->get<std::string>();
      return true;
    };
    std::string tag;
    if (!j.contains("prompt")) return problem(line, "no field \"prompt\"");
    if (!text("prompt", p.text) || !text("split", p.split) || !text("reference", p.reference) || !text("tag", tag)) return;
    if (const auto id = j.find("id"); id != j.end()) {
      if (!id->is_string() && !id->is_number_integer()) return problem(line, "field \"id\" must be a text or a whole number");
      p.id = id->is_string() ? id->get<std::string>() : id->dump();
    }
    if (!p.split.empty() && p.split != "train" && p.split != "held-out") return problem(line, "split " + in_quotes(p.split) + "; accepted: train, held-out");
    if (const auto tags = j.find("tags"); tags != j.end()) {
      if (!tags->is_array()) return problem(line, "field \"tags\" must be a list of texts");
      for (const Json& t : *tags) {
        if (!t.is_string()) return problem(line, "field \"tags\" must be a list of texts");
        p.tags.push_back(t.get<std::string>());
      }
    }
    if (!tag.empty()) p.tags.push_back(tag);
    // A field of another tool that is called like one that a stage writes keeps its value under another name.
    for (const auto& [key, value] : j.items())
      if (key != "id" && key != "prompt" && key != "tags" && key != "tag" && key != "split" && key != "reference") p.extra[is_written_by_stages(key) ? "prompt_" + key : key] = value;
    add(std::move(p), line);
  }

  void tsv(const std::string& text) {
    std::vector<std::string> names;
    long line = 0;
    for (const std::string& raw : split(text, '\n')) {
      ++line;
      const std::string row = raw.ends_with('\r') ? raw.substr(0, raw.size() - 1) : raw;
      if (row.empty()) continue;
      const std::vector<std::string> cells = split(row, '\t');
      if (names.empty()) {
        names = cells;
        if (!is_utf8(row)) return problem(line, "not valid UTF-8");
        if (std::find(names.begin(), names.end(), "prompt") == names.end()) return problem(line, "the header has no column \"prompt\"");
        for (const std::string& name : names)
          if (std::count(names.begin(), names.end(), name) > 1) return problem(line, "the column " + in_quotes(name) + " stands twice in the header");
        continue;
      }
      if (cells.size() != names.size()) {
        problem(line, std::to_string(cells.size()) + " columns; the header has " + std::to_string(names.size()));
        continue;
      }
      if (!is_utf8(row)) {
        problem(line, "not valid UTF-8");
        continue;
      }
      Json j = Json::object();
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (cells[i].empty()) continue;
        if (names[i] == "tags") j["tags"] = split(cells[i], ',');
        else j[names[i]] = cells[i];
      }
      json(j, line);
    }
  }
};

}  // namespace

bool Prompt::has_tag(std::string_view tag) const { return std::find(tags.begin(), tags.end(), tag) != tags.end(); }

std::vector<Prompt> read_prompts(const std::filesystem::path& path) {
  Reader reader{path.string(), {}, {}, {}};
  const auto read_text = [&] {
    std::string text = read_file(path);
    return text.starts_with("\xef\xbb\xbf") ? text.substr(3) : text;  // the byte order mark that some editors write
  };
  if (!std::filesystem::exists(path) || std::filesystem::is_directory(path)) throw InputError(path.string(), 0, "no such prompt file");
  if (path.extension() == ".jsonl" || path.extension() == ".zst") {
    const std::string text = path.extension() == ".zst" ? "" : read_text();
    if (path.extension() == ".zst") {
      long line = 0;
      for (const Json& record : read_records(path)) reader.json(record, ++line);
    }
    long line = 0;
    for (const std::string& one : split(text, '\n')) {
      ++line;
      if (trim(one).empty()) continue;
      try {
        reader.json(parse_json(one, path.string(), line), line);
      } catch (const InputError& e) {
        reader.problems.push_back(e.what());
      }
    }
  } else if (path.extension() == ".tsv") {
    reader.tsv(read_text());
  } else {
    long line = 0;
    for (const std::string& one : split(read_text(), '\n')) {
      ++line;
      if (!trim(one).empty()) reader.add({.text = trim(one)}, line);
    }
  }
  throw_problems(reader.problems);
  return std::move(reader.prompts);
}

Json to_json(const Prompt& p) {
  Json j = {{"id", p.id}, {"prompt", p.text}, {"tags", p.tags}};
  if (!p.split.empty()) j["split"] = p.split;
  if (!p.reference.empty()) j["reference"] = p.reference;
  for (const auto& [key, value] : p.extra.items()) j[key] = value;
  return j;
}

}  // namespace cai
