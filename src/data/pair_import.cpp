#include "cai/data/pair_import.hpp"

#include <algorithm>

#include "cai/base/text.hpp"
#include "cai/io/records.hpp"

namespace cai {
namespace {

constexpr std::string_view kHuman = "\n\nHuman:", kAssistant = "\n\nAssistant:";

bool is_dialogue(const Json& record, const char* field) {
  return record.contains(field) && record[field].is_string() && trim(record[field].get<std::string>()).starts_with("Human:") && record[field].get<std::string>().find(kAssistant) != std::string::npos;
}

bool are_messages(const Json& record, const char* field) {
  if (!record.contains(field) || !record[field].is_array() || record[field].empty()) return false;
  return std::all_of(record[field].begin(), record[field].end(), [](const Json& m) {
    return m.is_object() && m.contains("role") && m["role"].is_string() && m.contains("content") && m["content"].is_string();
  });
}

struct Dialogue {
  std::string before, answer;  // the last answer, and all that comes before it
};

Dialogue split_dialogue(const std::string& text) {
  const std::size_t at = text.rfind(kAssistant);
  return {text.substr(0, at), trim(text.substr(at + kAssistant.size()))};
}

Dialogue split_messages(const Json& messages) {
  Dialogue d{.answer = messages.back()["role"] == "assistant" ? trim(messages.back()["content"].get<std::string>()) : ""};
  for (std::size_t i = 0; i + 1 < messages.size(); ++i) {
    const std::string role = messages[i]["role"].get<std::string>();
    d.before += (role == "user" ? "\n\nHuman: " : role == "assistant" ? "\n\nAssistant: " : "\n\nSystem: ") + trim(messages[i]["content"].get<std::string>());
  }
  return d;
}

// A single question without its "Human:"; several turns as they are.
std::string as_prompt(const std::string& before) {
  const std::string text = trim(before);
  if (text.starts_with("Human:") && text.find(kHuman) == text.npos && text.find(kAssistant) == text.npos && text.find("\n\nSystem:") == text.npos) return trim(text.substr(6));
  return text;
}

// False when the record is of a foreign form and holds no pair.
bool convert(Json& record) {
  Dialogue chosen, rejected;
  if (!record.contains("prompt") && is_dialogue(record, "chosen") && is_dialogue(record, "rejected")) {
    chosen = split_dialogue(record["chosen"].get<std::string>()), rejected = split_dialogue(record["rejected"].get<std::string>());
  } else if (are_messages(record, "chosen") && are_messages(record, "rejected")) {
    chosen = split_messages(record["chosen"]), rejected = split_messages(record["rejected"]);
    if (chosen.before.empty() && record.contains("prompt") && record["prompt"].is_string()) chosen.before = rejected.before = "Human: " + record["prompt"].get<std::string>();
  } else {
    return true;
  }
  if (trim(chosen.before) != trim(rejected.before) || trim(chosen.before).empty() || chosen.answer.empty() || rejected.answer.empty()) return false;
  record["prompt"] = as_prompt(chosen.before);
  record["chosen"] = chosen.answer, record["rejected"] = rejected.answer;
  return true;
}

}  // namespace

ImportedPairs read_pairs(const std::filesystem::path& path) {
  ImportedPairs result;
  std::size_t number = 0;
  const std::string name = path.filename().empty() ? path.parent_path().filename().string() : path.stem().string();
  for (Json& record : read_records(path)) {
    ++number;
    if (!convert(record)) {
      ++result.left_out;
      continue;
    }
    if (!record.contains("id")) record["id"] = name + "-" + std::to_string(number);
    result.records.push_back(std::move(record));
  }
  return result;
}

}  // namespace cai
