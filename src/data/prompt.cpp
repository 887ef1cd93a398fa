#include "cai/data/prompt.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/data/conversation.hpp"
#include "cai/data/rows.hpp"
#include "cai/data/tags.hpp"

namespace cai {
namespace {

constexpr std::size_t kLongest = 100'000;

const std::vector<std::string>& known_fields() {
  static const std::vector<std::string> names = {"prompt", "messages", "conversations", "conversation", "id",
                                                 "tags",   "tag",      "split",         "reference"};
  return names;
}

bool is_known(const std::string& field) {
  return std::find(known_fields().begin(), known_fields().end(), field) != known_fields().end();
}

bool is_written_by_stages(const std::string& field) {
  static const std::set<std::string> names = {"a",
                                              "answer",
                                              "asked",
                                              "attack",
                                              "b",
                                              "candidates",
                                              "chosen",
                                              "complies",
                                              "critique",
                                              "critique_problem",
                                              "decline",
                                              "decline_by",
                                              "finish",
                                              "framing",
                                              "harm",
                                              "history",
                                              "human",
                                              "log_odds",
                                              "method",
                                              "model",
                                              "must",
                                              "opening",
                                              "orders_agree",
                                              "p",
                                              "passed",
                                              "principle",
                                              "problem",
                                              "reason",
                                              "reference_log_probability",
                                              "refusal",
                                              "rejected",
                                              "request",
                                              "response",
                                              "revision",
                                              "revision_problem",
                                              "round",
                                              "suite",
                                              "system",
                                              "tie",
                                              "tokens",
                                              "words"};
  return names.contains(field);
}

std::string optional_text(const Json& record, const std::string& field) {
  const auto value = record.find(field);
  if (value == record.end() || value->is_null()) return "";
  if (!value->is_string()) throw InputError("field \"" + field + "\" must be a text");
  return value->get<std::string>();
}

std::string id_of(const Json& record) {
  const auto id = record.find("id");
  if (id == record.end() || id->is_null()) return "";
  if (!id->is_string() && !id->is_number_integer())
    throw InputError("field \"id\" must be a text or a whole number");
  return id->is_string() ? id->get<std::string>() : id->dump();
}

std::vector<std::string> tags_of(const Json& record) {
  std::vector<std::string> tags;
  if (const auto list = record.find("tags"); list != record.end() && !list->is_null()) {
    const bool are_texts = list->is_array() && std::all_of(list->begin(), list->end(),
                                                           [](const Json& t) { return t.is_string(); });
    if (!are_texts) throw InputError("field \"tags\" must be a list of texts");
    for (const Json& tag : *list)
      tags.push_back(tag.get<std::string>());
  }
  if (const std::string tag = optional_text(record, "tag"); !tag.empty()) tags.push_back(tag);
  std::string kind;
  for (const std::string& tag : tags) {
    const bool is_kind = std::find(prompt_kinds().begin(), prompt_kinds().end(), tag) != prompt_kinds().end();
    if (is_kind && !kind.empty() && kind != tag)
      throw InputError("the tags name two kinds, \"" + kind + "\" and \"" + tag + "\"; accepted: one");
    if (is_kind) kind = tag;
  }
  return tags;
}

// The turns that a record asks. Preference pairs without a prompt (HH-RLHF) hold it at the beginning of their
// dialogues.
std::vector<Turn> turns_asked(const Json& record) {
  std::vector<Turn> turns = asked_turns(record);
  if (!turns.empty()) return turns;
  if (record.contains("prompt")) throw InputError("the prompt is empty");
  const auto chosen = record.find("chosen");
  if (chosen != record.end() &&
      (are_turns(*chosen) || (chosen->is_string() && is_transcript(chosen->get<std::string>()))))
    turns = asked_turns({{"prompt", *chosen}});
  if (!turns.empty()) return turns;
  std::vector<std::string> found;
  for (const auto& [name, value] : record.items())
    found.push_back(name);
  throw InputError("no field \"prompt\" (found: " + name_list(found) +
                   "); accepted: prompt, messages or conversations; rename the one that holds the prompt");
}

struct Reader {
  explicit Reader(const Rows& of) : rows(of), problems(of) {}

  const Rows& rows;
  RowProblems problems;
  std::vector<Prompt> prompts;
  std::unordered_map<std::string, std::pair<long, bool>> ids;  // where each stands, and whether it was given
  long repeated = 0, transcripts = 0;
  std::pair<long, long> first_repeated;                          // its line, and the one that it repeats
  std::map<std::string, std::pair<std::string, long>> mistyped;  // tag: the kind that is meant, how often

  void read() {
    for (const DataRow& row : rows.rows) {
      try {
        add(prompt_of(row.record), row.number);
      } catch (const InputError& e) {
        problems.add(row.number, e.what());
      }
    }
    problems.throw_if_any();
  }

  Prompt prompt_of(const Json& record) {
    const std::vector<Turn> turns = turns_asked(record);
    transcripts += turns.size() > 1;
    Prompt p{.id = id_of(record),
             .text = as_prompt(turns),
             .tags = tags_of(record),
             .split = optional_text(record, "split"),
             .reference = optional_text(record, "reference")};
    if (!p.split.empty() && p.split != "train" && p.split != "held-out")
      throw InputError("split " + in_quotes(p.split) + "; accepted: train, held-out");
    // A field of another tool that is called like one that a stage writes keeps its value under another name.
    auto& extra = p.extra.get_ref<Json::object_t&>();
    for (const auto& [key, value] :
         record.items())  // appended without a look at the others: there may be thousands
      if (const std::string name = is_written_by_stages(key) ? "prompt_" + key : key;
          !is_known(key) && (name == key || !record.contains(name)))
        extra.emplace_back(name, value);
    return p;
  }

  void add(Prompt p, long line) {
    if (!is_utf8(p.text)) throw InputError("not valid UTF-8");
    if (trim(p.text).empty()) throw InputError("the prompt is empty");
    if (p.text.size() > kLongest)
      throw InputError("the prompt has " + std::to_string(p.text.size()) + " bytes; accepted: at most " +
                       std::to_string(kLongest));
    const bool is_given = !p.id.empty();
    if (!is_given) p.id = sha256(p.text).substr(0, 12);
    const auto [it, fresh] = ids.emplace(p.id, std::pair(line, is_given));
    if (!fresh && (is_given || it->second.second))
      throw InputError("the id " + in_quotes(p.id) + " stands in " + rows.place(it->second.first) + " too");
    if (!fresh) {
      if (repeated++ == 0) first_repeated = {line, it->second.first};
      return;
    }
    for (const std::string& tag : p.tags)
      if (const std::string kind = meant_kind(tag); !kind.empty())
        mistyped[tag].first = kind, ++mistyped[tag].second;
    prompts.push_back(std::move(p));
  }

  std::vector<std::string> notes() const {
    std::vector<std::string> all;
    if (repeated > 0)
      all.push_back(rows.place(first_repeated.first) + ": the prompt of " +
                    rows.place(first_repeated.second) + " again; " + std::to_string(repeated) +
                    (repeated == 1 ? " repeated prompt is left out" : " repeated prompts are left out"));
    if (transcripts > 0)
      all.push_back(rows.file + ": " + std::to_string(transcripts) +
                    " prompts are conversations of several turns; they are asked as one text (\"Human: "
                    "...\", \"Assistant: ...\") up to the last message of the user");
    for (const auto& [tag, meant] : mistyped)
      all.push_back(rows.file + ": the tag " + in_quotes(tag) + " on " + std::to_string(meant.second) +
                    " prompts is no kind; did you mean \"" + meant.first +
                    "\"? Kinds are red-team, borderline and ordinary");
    std::vector<std::string> others;
    for (const std::string& name : rows.columns)
      if (!name.empty() && !is_known(name)) others.push_back(name);
    if (!others.empty())
      all.push_back(rows.file + ": columns kept without a use: " + name_list(others) +
                    " (columns with one: prompt, messages, id, tags, split, reference)");
    return all;
  }
};

std::vector<Prompt> prompts_of(const Rows& rows, std::vector<std::string>* notes) {
  Reader reader(rows);
  reader.read();
  if (notes)
    for (std::string& note : reader.notes())
      notes->push_back(std::move(note));
  return std::move(reader.prompts);
}

}  // namespace

bool Prompt::has_tag(std::string_view tag) const {
  return std::find(tags.begin(), tags.end(), tag) != tags.end();
}

std::vector<Prompt> read_prompts(const std::filesystem::path& path, std::vector<std::string>* notes) {
  if (!std::filesystem::exists(path) || std::filesystem::is_directory(path))
    throw InputError(path.string(), 0, "no such prompt file");
  return prompts_of(read_rows(path), notes);
}

std::vector<Prompt> prompts_of(const std::vector<Json>& records, const std::string& file,
                               std::vector<std::string>* notes) {
  Rows rows{.file = file, .are_lines = false};
  for (const Json& record : records)
    rows.rows.push_back({record, static_cast<long>(rows.rows.size()) + 1});
  return prompts_of(rows, notes);
}

void draw_splits(std::vector<Prompt>& prompts) {
  std::vector<Prompt*> drawn;
  for (Prompt& p : prompts)
    if (p.split.empty()) drawn.push_back(&p);
  const auto place = [](const Prompt* p) { return std::stoul(sha256(p->id).substr(0, 4), nullptr, 16); };
  for (Prompt* p : drawn)
    p->split = place(p) % 5 == 0 ? "held-out" : "train";
  for (const char* split : {"held-out", "train"}) {
    const bool has_some =
        std::any_of(prompts.begin(), prompts.end(), [&](const Prompt& p) { return p.split == split; });
    if (has_some || drawn.empty() || prompts.size() < 2) continue;
    const auto less = [&](const Prompt* x, const Prompt* y) {
      return std::pair(place(x), x->id) < std::pair(place(y), y->id);
    };
    (*std::min_element(drawn.begin(), drawn.end(), less))->split = split;
  }
}

Json to_json(const Prompt& p) {
  Json j = {{"id", p.id}, {"prompt", p.text}, {"tags", p.tags}};
  if (!p.split.empty()) j["split"] = p.split;
  if (!p.reference.empty()) j["reference"] = p.reference;
  auto& fields = j.get_ref<Json::object_t&>();
  for (const auto& [key, value] : p.extra.items())
    fields.emplace_back(key, value);
  return j;
}

}  // namespace cai
