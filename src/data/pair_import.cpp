#include "cai/data/pair_import.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/conversation.hpp"
#include "cai/data/rows.hpp"
#include "cai/io/records.hpp"

namespace cai {
namespace {

constexpr const char* kAccepted =
    "accepted: prompt with chosen and rejected, or with a and b, or with candidates "
    "(docs/reference/data-files.md)";

// Why a record holds no pair, though its form is known: it is left out.
struct NoPair {
  std::string why;
};

struct Side {
  std::vector<Turn> before;  // what the answer answers, where the field says so
  std::string answer;
};

bool is_given(const Json& record, const char* field) {
  return record.contains(field) && !record[field].is_null();
}

Side side_of_turns(std::vector<Turn> turns, const std::string& field) {
  if (turns.back().role != "assistant") throw NoPair{"\"" + field + "\" does not end with an answer"};
  Side side{.answer = turns.back().text};
  turns.pop_back();
  side.before = std::move(turns);
  return side;
}

Side side_of(const Json& record, const char* field) {
  const Json& value = record[field];
  if (value.is_null()) throw NoPair{"\"" + std::string(field) + "\" is empty"};
  if (are_turns(value)) return side_of_turns(turns_of(value), field);
  const bool is_list_of_one = value.is_array() && value.size() == 1 && value[0].is_string();
  const Json& text = is_list_of_one                                ? value[0]
                     : value.is_object() && value.contains("text") ? value["text"]
                                                                   : value;
  if (!text.is_string())
    throw InputError("\"" + std::string(field) +
                     "\" is neither a text nor a list of messages ({\"role\": ..., \"content\": ...})");
  const std::string answer = text.get<std::string>();
  const bool is_verdict = std::string_view(field) == "chosen" || std::string_view(field) == "rejected";
  if (is_verdict && is_transcript(answer)) return side_of_turns(turns_of_transcript(answer), field);
  return {{}, answer};
}

// The answer without its thinking block, and whether there was one.
std::string usable(const std::string& answer, const char* field, bool& has_thought) {
  const std::string seen = without_thinking(answer);
  has_thought = has_thought || seen != answer;
  if (!trim(seen).empty()) return seen;
  throw NoPair{"\"" + std::string(field) + "\" " +
               (seen != answer ? "holds nothing behind its thinking block" : "is empty")};
}

std::string prompt_text(const Json& record, const std::vector<Turn>& before) {
  const std::vector<Turn> turns = before.empty() ? asked_turns(record) : before;
  const std::string prompt = as_prompt(turns);
  if (trim(prompt).empty() && !turns.empty()) throw NoPair{"the prompt is empty"};
  if (turns.empty())
    throw InputError(
        "no prompt; accepted: prompt, messages or conversations, or dialogues in chosen and rejected");
  if (!is_utf8(prompt)) throw InputError("not valid UTF-8");
  return prompt;
}

// What the fields of a record of no known form remind of, and how it is converted.
std::string unknown_form(const Json& record) {
  std::vector<std::string> found;
  for (const auto& [name, value] : record.items())
    found.push_back(name);
  if (record.contains("response_0") && record.contains("response_1"))
    return "the form of PKU-SafeRLHF (response_0, response_1), which has two verdicts; say which counts: "
           "jq -c '{prompt, a: .response_0, b: .response_1, human: (1 - .better_response_id)}'";
  if (is_given(record, "completion") && record.contains("label"))
    return "one answer and a verdict on it, no pair; " + std::string(kAccepted);
  return "no pair (found: " + name_list(found) + "); " + kAccepted;
}

// Turns a record into ours. Throws NoPair or InputError. True when a thinking block was taken off.
bool convert(Json& record) {
  bool has_thought = false;
  if (record.contains("candidates")) {
    record["prompt"] = prompt_text(record, {});
  } else if (record.contains("chosen") && record.contains("rejected")) {
    const Side chosen = side_of(record, "chosen"), rejected = side_of(record, "rejected");
    if (chosen.before != rejected.before) throw NoPair{"the two dialogues part before the last answer"};
    record["prompt"] = prompt_text(record, chosen.before);
    record["chosen"] = usable(chosen.answer, "chosen", has_thought);
    record["rejected"] = usable(rejected.answer, "rejected", has_thought);
  } else if (record.contains("a") && record.contains("b")) {
    record["prompt"] = prompt_text(record, {});
    for (const char* field : {"a", "b"})
      record[field] = usable(side_of(record, field).answer, field, has_thought);
  } else if (record.contains("edited")) {
    throw NoPair{"an answer of a person's own, no pair"};
  } else {
    throw InputError(unknown_form(record));
  }
  return has_thought;
}

Rows rows_of(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return read_rows(path);
  Rows rows{.file = path.string(), .are_lines = false};
  for (Json& record : read_records(path))
    rows.rows.push_back({std::move(record), static_cast<long>(rows.rows.size()) + 1});
  return rows;
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// What no two records may share: the id, with the model that answered.
std::string name_of(const Json& record) {
  return text_of(record["id"]) + "\n" + (record.contains("model") ? text_of(record["model"]) : "");
}

// "pairs.jsonl: 3 records hold no pair and are left out (2: "rejected" is empty, first in pairs.jsonl:4;
// ...)".
std::string left_out_note(const Rows& rows, const std::map<std::string, std::pair<long, long>>& reasons,
                          long count) {
  std::string list;
  for (const auto& [why, first_and_count] : reasons)
    list += (list.empty() ? "" : "; ") + std::to_string(first_and_count.second) + ": " + why + ", first in " +
            rows.place(first_and_count.first);
  return rows.file + ": " + std::to_string(count) +
         (count == 1 ? " record holds no pair and is left out ("
                     : " records hold no pair and are left out (") +
         list + ")";
}

}  // namespace

ImportedPairs read_pairs(const std::filesystem::path& path) {
  const Rows rows = rows_of(path);
  RowProblems problems(rows);
  ImportedPairs result;
  std::map<std::string, long> ids;
  std::set<std::tuple<std::string, std::string, std::string>> seen;
  std::map<std::string, std::pair<long, long>> reasons;
  long thoughts = 0, number = 0;
  const std::string name =
      path.filename().empty() ? path.parent_path().filename().string() : path.stem().string();
  for (const DataRow& row : rows.rows) {
    ++number;
    Json record = row.record;
    try {
      thoughts += convert(record);
      const bool has_id = is_given(record, "id");
      if (const auto [it, is_new] = ids.emplace(has_id ? name_of(record) : "", row.number); has_id && !is_new)
        throw InputError("the id " + in_quotes(text_of(record["id"])) + " stands in " +
                         rows.place(it->second) + " too");
      const bool is_ours = record.contains("candidates") || has_id;
      const auto text = [&](const char* one, const char* other) {
        return record.contains(one) ? record[one].dump() : record[other].dump();
      };
      if (!is_ours && !seen.insert({record["prompt"], text("chosen", "a"), text("rejected", "b")}).second)
        throw NoPair{"a repetition"};
      if (!has_id) record["id"] = name + "-" + std::to_string(number);
      result.records.push_back(std::move(record));
    } catch (const NoPair& none) {
      ++result.left_out;
      const auto [reason, is_new] = reasons.emplace(none.why, std::pair(row.number, 0L));
      ++reason->second.second;
    } catch (const InputError& e) {
      problems.add(row.number, e.what());
    }
  }
  problems.throw_if_any();
  if (result.left_out > 0) result.notes.push_back(left_out_note(rows, reasons, result.left_out));
  if (result.left_out > 0 && result.records.empty())
    throw InputError(rows.file, 0, "no pair is left" + result.notes.front().substr(rows.file.size()));
  if (thoughts > 0)
    result.notes.push_back(rows.file + ": the thinking block was taken off the answers of " +
                           std::to_string(thoughts) + " records");
  return result;
}

}  // namespace cai
