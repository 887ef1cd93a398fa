// OTLP/JSON: spans of calls to models in the names that three generations of conventions gave them.
#include <map>
#include <string>

#include "cai/base/error.hpp"
#include "cai/data/exchange.hpp"

namespace cai {
namespace {

Json value_of(const Json& typed) {
  if (!typed.is_object()) return typed;
  if (typed.contains("stringValue")) return typed["stringValue"];
  if (typed.contains("arrayValue") && typed["arrayValue"].is_object()) {
    Json list = Json::array();
    for (const Json& one : typed["arrayValue"].value("values", Json::array()))
      list.push_back(value_of(one));
    return list;
  }
  if (typed.contains("kvlistValue") && typed["kvlistValue"].is_object()) {
    Json object = Json::object();
    for (const Json& one : typed["kvlistValue"].value("values", Json::array()))
      if (one.is_object() && one.contains("key") && one["key"].is_string() && one.contains("value"))
        object[one["key"].get<std::string>()] = value_of(one["value"]);
    return object;
  }
  return Json();
}

using Attributes = std::map<std::string, Json>;

Attributes attributes_of(const Json& holder) {
  Attributes all;
  for (const Json& one : holder.value("attributes", Json::array()))
    if (one.is_object() && one.contains("key") && one["key"].is_string() && one.contains("value"))
      all[one["key"].get<std::string>()] = value_of(one["value"]);
  return all;
}

// A message of [{role, parts: [{type: "text", content}]}] as {role, content}.
Json plain_message(const Json& message) {
  if (!message.is_object() || !message.contains("parts")) return message;
  std::string text;
  for (const Json& part : message["parts"])
    if (part.is_object() && part.value("type", "") == "text")
      text += (text.empty() ? "" : "\n") + part.value("content", std::string());
  return {{"role", message.value("role", "user")}, {"content", text}};
}

// gen_ai.input.messages: a list, or JSON in a text.
Json messages_in(const Attributes& all, const std::string& name) {
  const auto found = all.find(name);
  if (found == all.end()) return Json::array();
  const Json list =
      found->second.is_string() ? parse_json(found->second.get<std::string>(), name) : found->second;
  Json messages = Json::array();
  for (const Json& message : list)
    messages.push_back(plain_message(message));
  return messages;
}

// "PREFIX.0.MIDDLErole" and "...content", counted up.
Json numbered_messages(const Attributes& all, const std::string& prefix, const std::string& middle) {
  Json messages = Json::array();
  for (int i = 0;; ++i) {
    const std::string at = prefix + "." + std::to_string(i) + "." + middle;
    const auto role = all.find(at + "role"), content = all.find(at + "content");
    if (role == all.end() && content == all.end()) return messages;
    messages.push_back({{"role", role == all.end() ? Json("assistant") : role->second},
                        {"content", content == all.end() ? Json("") : content->second}});
  }
}

// {id, messages, output}, or null where the span holds no exchange.
Json exchange_of(const Json& span) {
  const Attributes all = attributes_of(span);
  Json asked = messages_in(all, "gen_ai.input.messages"), said = messages_in(all, "gen_ai.output.messages");
  if (asked.empty())
    asked = numbered_messages(all, "llm.input_messages", "message."),
    said = numbered_messages(all, "llm.output_messages", "message.");
  if (asked.empty())
    asked = numbered_messages(all, "gen_ai.prompt", ""),
    said = numbered_messages(all, "gen_ai.completion", "");
  if (asked.empty() || said.empty()) return nullptr;
  Json exchange = {{"id", span.value("spanId", "")}, {"messages", asked}, {"output", said}};
  if (exchange["id"] == "") exchange.erase("id");
  for (const char* model : {"gen_ai.response.model", "gen_ai.request.model", "llm.model_name"})
    if (all.contains(model) && !exchange.contains("model")) exchange["model"] = all.at(model);
  return exchange;
}

}  // namespace

std::vector<Json> exchanges_of_spans(const Json& record, long& others) {
  std::vector<Json> found;
  try {
    const Json resources = record.contains("resourceSpans") ? record["resourceSpans"] : Json::array({record});
    for (const Json& resource : resources)
      for (const Json& scope : resource.value("scopeSpans", Json::array()))
        for (const Json& span : scope.value("spans", Json::array())) {
          Json exchange = exchange_of(span);
          if (exchange.is_null())
            ++others;
          else
            found.push_back(std::move(exchange));
        }
  } catch (const Json::exception&) {
    throw InputError("spans of another form than OTLP/JSON");
  }
  return found;
}

}  // namespace cai
