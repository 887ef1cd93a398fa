#include "cai/data/exchange.hpp"

#include <algorithm>
#include <iostream>
#include <iterator>
#include <optional>
#include <unordered_map>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/data/conversation.hpp"
#include "cai/io/records.hpp"

namespace cai {
namespace {

constexpr const char* kAccepted =
    "accepted: prompt or messages with answer, response, completion or output, and the logs that "
    "docs/reference/data-files.md names; --map prompt=NAME --map answer=NAME for others";

bool is_given(const Json& record, const char* field) {
  return record.is_object() && record.contains(field) && !record[field].is_null();
}

// Calls of tools and what they gave back are no words of the user or the model.
std::vector<Turn> turns_in(const Json& list) {
  Json spoken = Json::array();
  for (const Json& message : list.is_array() ? list : Json::array({list})) {
    const bool is_tool = message.is_object() && (message.value("role", Json()) == "tool" ||
                                                 message.value("role", Json()) == "function");
    if (!is_tool) spoken.push_back(message);
  }
  return spoken.empty() ? std::vector<Turn>() : turns_of(spoken);
}

std::vector<Turn> asked_in(const Json& value) {
  if (value.is_object() && value.contains("messages")) return asked_in(value["messages"]);
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    return is_transcript(text) ? turns_of_transcript(text) : std::vector<Turn>{{"user", text}};
  }
  if (!are_turns(value)) throw InputError("the request is neither a text nor a list of messages");
  return turns_in(value);
}

std::string text_or_nothing(const Json& value) {
  return value.is_string() ? value.get<std::string>() : "";
}

// The text of a choice: a whole message, a text of the old completions, or one chunk of a stream.
std::string choice_text(const Json& choice) {
  for (const char* field : {"message", "delta"})
    if (is_given(choice, field) && is_given(choice[field], "content")) {
      const Json& content = choice[field]["content"];
      if (content.is_string()) return content.get<std::string>();
      return turns_of(Json{{"role", "assistant"}, {"content", content}}).front().text;
    }
  return is_given(choice, "text") ? text_or_nothing(choice["text"]) : "";
}

std::string answer_in(const Json& value);

// Chunks of a stream, in order; only the first choice counts.
std::string joined_chunks(const Json& chunks) {
  std::string text;
  for (const Json& chunk : chunks)
    if (is_given(chunk, "choices") && !chunk["choices"].empty()) text += choice_text(chunk["choices"][0]);
  return text;
}

std::string answer_in(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (is_given(value, "body")) return answer_in(value["body"]);
  if (is_given(value, "choices")) return value["choices"].empty() ? "" : choice_text(value["choices"][0]);
  const bool are_chunks =
      value.is_array() && !value.empty() &&
      std::all_of(value.begin(), value.end(), [](const Json& one) { return is_given(one, "choices"); });
  if (are_chunks) return joined_chunks(value);
  if (are_turns(value)) {
    const std::vector<Turn> turns = turns_in(value);
    return turns.empty() || turns.back().role != "assistant" ? "" : turns.back().text;
  }
  if (is_given(value, "content")) return answer_in(value["content"]);
  if (is_given(value, "text")) return answer_in(value["text"]);
  if (value.is_null()) return "";
  throw InputError("the answer is neither a text, a message nor choices");
}

const Json* at_path(const Json& record, const std::string& path) {
  const Json* at = &record;
  for (const std::string& name : split(path, '.')) {
    if (!at->is_object() || !at->contains(name)) return nullptr;
    at = &(*at)[name];
  }
  return at->is_null() ? nullptr : at;
}

struct Reader {
  const FieldMap& map;
  bool needs_answer;
  Exchanges result;
  std::unordered_map<std::string, long> ids;                    // how often each was seen
  std::unordered_map<std::string, std::pair<Json, long>> open;  // requests of a batch by custom_id

  void add(const Json& record, long number, std::vector<Turn> asked, const std::string& answer,
           const std::string& suffix = "") {
    while (!asked.empty() && asked.back().role != "user")
      asked.pop_back();
    Exchange e{.prompt = as_prompt(asked), .answer = trim(without_thinking(answer)), .number = number};
    if (asked.empty() || trim(e.prompt).empty()) throw InputError("the request is empty");
    if (needs_answer && e.answer.empty()) throw InputError("the answer is empty");
    if (!is_utf8(e.prompt) || !is_utf8(e.answer)) throw InputError("not valid UTF-8");
    e.id = id_of(record);
    if (e.id.empty()) e.id = sha256(e.prompt + "\n" + e.answer).substr(0, 12);
    e.id += suffix;
    if (const long n = ++ids[e.id]; n > 1) e.id += "#" + std::to_string(n);
    e.tags = tags_in(record);
    for (const char* field : {"model", "time", "violates"})
      if (is_given(record, field)) e.extra[field] = record[field];
    for (const char* field : {"timestamp", "startTime", "start_time", "created"})
      if (!e.extra.contains("time") && is_given(record, field)) e.extra["time"] = record[field];
    result.list.push_back(std::move(e));
  }

  std::string id_of(const Json& record) const {
    const auto own = map.find("id");
    for (const std::string& field : own != map.end() ? std::vector<std::string>{own->second}
                                                     : std::vector<std::string>{"id", "custom_id"})
      if (const Json* id = at_path(record, field); id && (id->is_string() || id->is_number_integer()))
        return id->is_string() ? id->get<std::string>() : id->dump();
    return "";
  }

  std::vector<std::string> tags_in(const Json& record) const {
    const auto own = map.find("tags");
    const Json* tags = at_path(record, own != map.end() ? own->second : "tags");
    std::vector<std::string> list;
    if (tags && tags->is_string()) list.push_back(tags->get<std::string>());
    for (const Json& tag : tags && tags->is_array() ? *tags : Json::array())
      if (tag.is_string()) list.push_back(tag.get<std::string>());
    return list;
  }

  void read_mapped(const Json& record, long number) {
    const auto field = [&](const char* ours) {
      const auto own = map.find(ours);
      const std::string name = own == map.end() ? ours : own->second;
      const Json* value = at_path(record, name);
      if (!value && (std::string(ours) == "prompt" || needs_answer))
        throw InputError("no field " + in_quotes(name));
      return value ? *value : Json();
    };
    add(record, number, asked_in(field("prompt")), answer_in(field("answer")));
  }

  // Each answer with what stands before it.
  void read_conversation(const Json& record, long number, const Json& list) {
    const std::vector<Turn> turns = turns_in(list);
    const auto is_answer = [](const Turn& t) { return t.role == "assistant"; };
    const long answers = std::count_if(turns.begin(), turns.end(), is_answer);
    if (answers == 0) throw InputError("the conversation holds no answer");
    long n = 0;
    for (std::size_t i = 0; i < turns.size(); ++i)
      if (is_answer(turns[i]) && ++n > 0)
        add(record, number, {turns.begin(), turns.begin() + static_cast<std::ptrdiff_t>(i)}, turns[i].text,
            answers > 1 ? "/" + std::to_string(n) : "");
  }

  void read_spans(const Json& record, long number) {
    for (const Json& span : exchanges_of_spans(record, result.passed_over))
      add(span, number, asked_in(span["messages"]), answer_in(span["output"]));
  }

  // A batch's requests stand in one file and its answers in another: both are given one after the other.
  void read_batch(const Json& record, long number) {
    const std::string id = text_or_nothing(record["custom_id"]);
    const bool is_answer = record.contains("response");
    if (!is_answer && !is_given(record, "body")) throw InputError("a batch record without body or response");
    const auto other = open.find(id);
    if (other == open.end()) {
      open.emplace(id, std::pair(record, number));
      return;
    }
    const Json &request = is_answer ? other->second.first : record,
               &reply = is_answer ? record : other->second.first;
    if (!is_given(request, "body") || !reply.contains("response"))
      throw InputError("the custom_id " + in_quotes(id) + " stands there twice");
    Json both = {{"custom_id", id}};
    const Json answer = reply["response"], asked = request["body"];
    open.erase(other);
    if (!is_given(answer, "body")) throw InputError("the request failed: it has no answer");
    add(both, number, asked_in(asked), answer_in(answer));
  }

  void read(const Json& r, long number) {
    if (!map.empty()) return read_mapped(r, number);
    if (r.contains("resourceSpans") || r.contains("scopeSpans")) return read_spans(r, number);
    if (is_given(r, "custom_id")) return read_batch(r, number);
    if (is_given(r, "type") && r.contains("input")) {
      if (r["type"] != "GENERATION") return static_cast<void>(++result.passed_over);
      return add(r, number, asked_in(r["input"]), answer_in(r.value("output", Json())));
    }
    if (is_given(r, "request") && r.contains("response"))
      return add(r, number, asked_in(r["request"]), answer_in(r["response"]));
    for (const char* field : {"conversation", "conversations"})
      if (is_given(r, field) && are_turns(r[field]) && !has_answer_field(r))
        return read_conversation(r, number, r[field]);
    if (is_given(r, "messages") && is_given(r, "choices"))
      return add(r, number, asked_in(r["messages"]), answer_in(r));
    read_flat(r, number);
  }

  static constexpr const char* kAnswers[] = {"answer", "response", "completion", "output"};

  static bool has_answer_field(const Json& r) {
    return std::any_of(std::begin(kAnswers), std::end(kAnswers),
                       [&](const char* f) { return is_given(r, f); });
  }

  void read_flat(const Json& r, long number) {
    std::optional<std::string> answer;
    for (const char* field : kAnswers)
      if (!answer && is_given(r, field)) answer = answer_in(r[field]);
    const char* const asked = is_given(r, "prompt")     ? "prompt"
                              : is_given(r, "messages") ? "messages"
                              : is_given(r, "input")    ? "input"
                                                        : nullptr;
    if (asked && !answer && are_turns(r[asked])) {  // the answer is the last message
      std::vector<Turn> turns = turns_in(r[asked]);
      if (!turns.empty() && turns.back().role == "assistant") {
        answer = turns.back().text;
        turns.pop_back();
        return add(r, number, std::move(turns), *answer);
      }
    }
    if (asked && (answer || !needs_answer)) return add(r, number, asked_in(r[asked]), answer.value_or(""));
    std::vector<std::string> found;
    for (const auto& [name, value] : r.items())
      found.push_back(name);
    throw InputError(std::string(asked ? "no answer" : "no request") + " (found: " + name_list(found) +
                     "); " + kAccepted);
  }
};

std::string all_of_stdin() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

Rows rows_at(const std::string& path) {
  if (path == "-") return rows_of_bytes(all_of_stdin(), "stdin", ".jsonl");
  if (!std::filesystem::is_directory(path)) return read_rows(path);
  Rows rows{.file = path, .are_lines = false};
  for (Json& record : read_records(path))
    rows.rows.push_back({std::move(record), static_cast<long>(rows.rows.size()) + 1});
  return rows;
}

}  // namespace

FieldMap read_field_map(const std::vector<std::string>& given) {
  FieldMap map;
  for (const std::string& text : given) {
    const std::size_t equals = text.find('=');
    const std::string field = text.substr(0, equals);
    const std::vector<std::string> fields = {"prompt", "answer", "id", "tags"};
    if (equals == text.npos || equals + 1 == text.size() ||
        std::find(fields.begin(), fields.end(), field) == fields.end())
      throw UsageError("invalid value " + in_quotes(text) +
                       " for --map (expected FIELD=NAME; fields are prompt, answer, id, tags)");
    if (!map.emplace(field, text.substr(equals + 1)).second)
      throw UsageError("--map: the field " + in_quotes(field) + " is given twice");
  }
  return map;
}

Exchanges exchanges_of(Rows rows, const FieldMap& map, bool needs_answer) {
  Reader reader{.map = map, .needs_answer = needs_answer};
  reader.result.file = rows.file;
  reader.result.problems = rows.problems;
  for (const DataRow& row : rows.rows) {
    const std::size_t before = reader.result.list.size();
    try {
      reader.read(row.record, row.number);
    } catch (const InputError& e) {
      reader.result.list.resize(before);
      reader.result.problems.push_back(rows.place(row.number) + ": " + e.what());
    } catch (const Json::exception&) {
      reader.result.list.resize(before);
      reader.result.problems.push_back(rows.place(row.number) + ": a field has another type than expected; " +
                                       kAccepted);
    }
  }
  std::vector<std::pair<long, std::string>> unmatched;
  for (const auto& [id, record] : reader.open)
    unmatched.emplace_back(record.second, std::string("the ") +
                                              (record.first.contains("response") ? "request" : "answer") +
                                              " of custom_id " + in_quotes(id) + " is not there");
  std::sort(unmatched.begin(), unmatched.end());
  for (const auto& [number, what] : unmatched)
    reader.result.problems.push_back(rows.place(number) + ": " + what);
  return std::move(reader.result);
}

Exchanges read_exchanges(const std::string& path, const FieldMap& map, bool needs_answer) {
  Exchanges all = exchanges_of(rows_at(path), map, needs_answer);
  if (!all.list.empty()) return all;
  throw_problems(all.problems);
  throw InputError(all.file, 0,
                   all.passed_over > 0 ? "none of its " + std::to_string(all.passed_over) +
                                             " records holds an exchange; " + kAccepted
                                       : "holds no exchanges");
}

}  // namespace cai
